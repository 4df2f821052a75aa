package quality

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// tally is what became of the attacks of a family.
type tally struct {
	n, found, inTime int
	delays           []time.Duration
}

func (t *tally) add(f Finding) {
	t.n++
	if f.Hit != nil {
		t.found++
		if f.Delay >= 0 {
			t.delays = append(t.delays, f.Delay)
		}
	}
	if f.Found() {
		t.inTime++
	}
}

// Summary is what a run comes to, the real or the synthetic.
type Summary struct {
	Families map[string]*tally
	Evasions map[string]*tally
	Misses   []string
	// Right are incidents that are answers, Twice further ones about the same
	// thing, Related serious ones of another family about the same hosts, False all
	// other serious ones.
	Right, Twice, Related, False int
	Wrong                        map[string]int // False by detector
	PerDay                       []int          // serious incidents of each host-day without an attack
	HostDays                     float64
}

// Summarise adds outcomes up.
func Summarise(outcomes []Outcome) Summary {
	s := Summary{Families: map[string]*tally{}, Evasions: map[string]*tally{}, Wrong: map[string]int{}}
	wrong := func(list []Incident) {
		s.False += len(list)
		for _, i := range list {
			s.Wrong[i.Detector]++
		}
	}
	for _, o := range outcomes {
		attacks := 0
		for _, f := range o.Findings {
			if f.Harmless {
				wrong(f.False)
				continue
			}
			attacks++
			into, by := s.Families, f.Family
			if f.Evasion != "" {
				into, by = s.Evasions, f.Family+", "+f.Evasion
			}
			if into[by] == nil {
				into[by] = &tally{}
			}
			into[by].add(f)
			if f.Hit != nil {
				s.Right++
			}
			s.Twice += len(f.Twice)
			if !f.Found() {
				why := "not found"
				if f.Hit != nil {
					why = "found after " + f.Delay.Round(time.Second).String()
				}
				s.Misses = append(s.Misses, fmt.Sprintf("%s: %s of %s to %s: %s (%s)", o.Case, f.Kind, strings.Join(f.Actors, ","), strings.Join(f.Victims, ","), why, f.Note))
			}
		}
		s.Related += len(o.Related)
		wrong(o.Noise)
		if attacks == 0 && o.HostDays > 0 {
			s.PerDay = append(s.PerDay, o.PerDay...)
			s.HostDays += o.HostDays
		}
	}
	return s
}

// Precision is the share of serious incidents and answers that are about
// something: right over right, twice and false.
func (s Summary) Precision() float64 {
	if n := s.Right + s.Twice + s.False; n > 0 {
		return float64(s.Right) / float64(n)
	}
	return 1
}

// report prints all tables.
func report(out io.Writer, outcomes []Outcome, series [2]string) {
	real := slices.DeleteFunc(slices.Clone(outcomes), func(o Outcome) bool { return !o.Real || o.unlabelled() })
	made := slices.DeleteFunc(slices.Clone(outcomes), func(o Outcome) bool { return o.Real })
	goals(out, outcomes, series)
	section(out, "Real traffic", Summarise(real))
	section(out, "Generated traffic", Summarise(made))
	rest := map[string]int{}
	n := 0
	for _, o := range outcomes {
		if o.unlabelled() {
			n++
			for _, i := range o.Noise {
				rest[i.Detector+" "+i.Severity]++
			}
		}
	}
	fmt.Fprintf(out, "\n## %d captures without a label\nSerious incidents, right or wrong: %s\n", n, counts(rest))
}

// unlabelled says that nothing is known of a part: its incidents are neither right
// nor wrong.
func (o Outcome) unlabelled() bool {
	return o.Real && len(o.Findings) == 0 && !strings.HasPrefix(o.Case, "flows/")
}

func section(out io.Writer, title string, s Summary) {
	fmt.Fprintf(out, "\n## %s\n\n", title)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	table(w, "family", s.Families)
	w.Flush()
	fmt.Fprintf(out, "\nprecision %.3f: %d right, %d more about the same thing, %d false; %d others about attackers or victims\n", s.Precision(), s.Right, s.Twice, s.False, s.Related)
	fmt.Fprintf(out, "false, by detector: %s\n", counts(s.Wrong))
	if s.HostDays > 0 {
		fmt.Fprintf(out, "serious incidents per host-day without an attack: median %d, 95th percentile %d, mean %.3f (%.0f host-days)\n", quantile(s.PerDay, 0.5), quantile(s.PerDay, 0.95), mean(s.PerDay), s.HostDays)
	}
	if len(s.Evasions) > 0 {
		fmt.Fprintln(out)
		table(w, "evasion", s.Evasions)
		w.Flush()
	}
	if len(s.Misses) > 0 {
		fmt.Fprintf(out, "\nmissed:\n- %s\n", strings.Join(s.Misses, "\n- "))
	}
}

func table(w io.Writer, what string, by map[string]*tally) {
	fmt.Fprintf(w, "%s\tn\tfound\tin time\trecall\t95 %% interval\tdelay median\tp95\n", what)
	all := &tally{}
	row := func(name string, t *tally) {
		low, high := wilson(t.inTime, t.n)
		median, late := "-", "-"
		if len(t.delays) > 0 {
			median, late = quantile(t.delays, 0.5).Round(time.Second).String(), quantile(t.delays, 0.95).Round(time.Second).String()
		}
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%.3f\t%.2f-%.2f\t%s\t%s\n", name, t.n, t.found, t.inTime, float64(t.inTime)/float64(max(1, t.n)), low, high, median, late)
	}
	for _, name := range slices.Sorted(maps.Keys(by)) {
		t := by[name]
		row(name, t)
		all.n, all.found, all.inTime, all.delays = all.n+t.n, all.found+t.found, all.inTime+t.inTime, append(all.delays, t.delays...)
	}
	row("all", all)
}

func counts(by map[string]int) string {
	if len(by) == 0 {
		return "none"
	}
	var parts []string
	for _, k := range slices.SortedFunc(maps.Keys(by), func(a, b string) int { return cmp.Or(by[b]-by[a], strings.Compare(a, b)) }) {
		parts = append(parts, fmt.Sprintf("%s %d", k, by[k]))
	}
	return strings.Join(parts, ", ")
}

func mean(list []int) float64 {
	sum := 0
	for _, v := range list {
		sum += v
	}
	return float64(sum) / float64(max(1, len(list)))
}
