package access

import (
	_ "embed"
	"fmt"
	"strings"
	"time"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/analyzer/detect"
)

//go:embed brute_force.sql
var bruteForceSQL string

//go:embed brute_force_windows.sql
var bruteForceWindowsSQL string

// BruteForceConfig are the thresholds of brute_force and brute_force_slow.
type BruteForceConfig struct {
	MinAttempts     int     `conf:"min_attempts" help:"attempts of one source at a service of a host in 10 minutes"`
	MinAttemptsSlow int     `conf:"min_attempts_slow" help:"the same in 24 hours"`
	MinAlike        float64 `conf:"min_alike" help:"least share of attempts whose size is within 35 % of their median, 0 to 1"`
	MinSources      int     `conf:"min_sources" help:"sources that together guess at one service of a host"`
	MinTogether     int     `conf:"min_together" help:"attempts that they make together"`
}

const bruteForceDoc = `An attempt is an answer that refuses a login (FTP 530, SMB and Kerberos by their status, LDAP, SMTP, POP3, IMAP, RADIUS, MySQL, PostgreSQL, SQL Server, VNC, HTTP 401
with a user), several in one connection count each; or, where nothing can be read (SSH, RDP, Telnet, VNC), a short answered connection, of which most have a like size. The service is
known by its protocol on any port, or by its port. A source inside has an incident for each service of a host; sources outside share one. The magnitude is the number of attempts. From
inside medium, from outside low, where guessing is background; high when a success is suspected: after enough attempts the service let the source in, or a connection had four times
the usual octets.`

func bruteForceControls() []string {
	return []string{
		"one session, however long: attempts are counted, not packets",
		"programs that log in by the dozen: connections that move more than 6 kB one way, or that the same pair made on three of the seven days before as often",
		"connections that were not answered, which are scans",
		"many users a few times each, which is password_spray",
		"sources in detect.exempt, and networks with the role scanner, monitor or backup",
	}
}

// newBruteForce looks for guessing at passwords within ten minutes.
func newBruteForce(own detect.Own, c BruteForceConfig) detect.Detector {
	return detect.New(detect.Spec[guessing]{
		Info: detect.Info{
			Name: "brute_force", Version: 1, Title: "Guessing at passwords", Techniques: []string{"T1110"},
			Length: 10 * time.Minute, Step: 5 * time.Minute,
			Doc:      "Many attempts to log in to one service of a host within ten minutes. " + bruteForceDoc,
			Controls: bruteForceControls(),
			Parameters: append([]detect.Parameter{
				{Name: "min_attempts", Value: fmt.Sprint(c.MinAttempts), Doc: "attempts of a source in 10 minutes; Slips has 9, Zeek 30 in 30 minutes for SSH and 20 in 15 for FTP"},
			}, c.shared()...),
		},
		SQL:    detect.Compose(bruteForceSQL),
		Params: func(w detect.Window) detect.Params { return c.params(own, w, c.MinAttempts, 0) },
		Judge: func(a *alert.Alert, r *guessing) detect.Verdict {
			r.judge(a, c.MinAttempts, "10 minutes", c)
			return detect.Raise
		},
		Find:       detect.Compose(bruteForceWindowsSQL),
		FindParams: detect.Params{"min_attempts": detect.Number(c.MinAttempts)},
	})
}

// newBruteForceSlow looks for guessing at passwords within a day.
func newBruteForceSlow(own detect.Own, c BruteForceConfig) detect.Detector {
	return detect.New(detect.Spec[guessing]{
		Info: detect.Info{
			Name: "brute_force_slow", Version: 1, Title: "Slow guessing at passwords", Techniques: []string{"T1110"},
			Length: 24 * time.Hour, Step: time.Hour,
			Doc:      "Many attempts to log in to one service of a host within a day, or by many sources a few each, none of which was quick enough for brute_force. " + bruteForceDoc,
			Controls: bruteForceControls(),
			Parameters: append([]detect.Parameter{
				{Name: "min_attempts_slow", Value: fmt.Sprint(c.MinAttemptsSlow), Doc: "attempts of a source in 24 hours; of a day of a SSH honeypot 73 pairs have so many"},
			}, c.shared()...),
		},
		SQL:    detect.Compose(bruteForceSQL),
		Params: func(w detect.Window) detect.Params { return c.params(own, w, c.MinAttemptsSlow, c.MinAttempts) },
		Judge: func(a *alert.Alert, r *guessing) detect.Verdict {
			r.judge(a, c.MinAttemptsSlow, "24 hours", c)
			return detect.Raise
		},
		Find:       detect.Compose(bruteForceWindowsSQL),
		FindParams: detect.Params{"min_attempts": detect.Number(min(c.MinAttemptsSlow, c.MinTogether))},
	})
}

func (c BruteForceConfig) shared() []detect.Parameter {
	return []detect.Parameter{
		{Name: "min_alike", Value: fmt.Sprint(c.MinAlike), Doc: "least share of attempts within 35 % of their median size, where answers cannot be read"},
		{Name: "min_sources", Value: fmt.Sprint(c.MinSources), Doc: "sources that guess together, two attempts each or more"},
		{Name: "min_together", Value: fmt.Sprint(c.MinTogether), Doc: "attempts that they make together"},
	}
}

func (c BruteForceConfig) params(own detect.Own, w detect.Window, attempts, quick int) detect.Params {
	return own.Params().Span(w).With("min_attempts", detect.Number(attempts), "quick", detect.Number(quick), "habit", detect.Number(c.MinAttempts),
		"min_alike", detect.Decimal(c.MinAlike), "min_sources", detect.Number(c.MinSources), "min_together", detect.Number(c.MinTogether),
		"src", "", "dst", "", "service", "", "site", "")
}

// guessing is a row of the statement: a source and a service of a host, or a
// service that several guess at.
type guessing struct {
	Site          string    `ch:"site"`
	Src           string    `ch:"src"`
	Dst           string    `ch:"dst"`
	Service       string    `ch:"service"`
	LeastPort     uint16    `ch:"least_port"`
	Sources       uint64    `ch:"sources"`
	AllAttempts   uint64    `ch:"all_attempts"`
	MostAttempts  uint64    `ch:"most_attempts"`
	AllRefusals   uint64    `ch:"all_refusals"`
	Busiest       string    `ch:"busiest"`
	SourceSample  []string  `ch:"source_sample"`
	UserSample    []string  `ch:"user_sample"`
	UsualBytes    uint64    `ch:"usual_bytes"`
	BrokenIn      uint64    `ch:"broken_in"`
	SuccessSample []string  `ch:"success_sample"`
	First         time.Time `ch:"first"`
	Last          time.Time `ch:"last"`
	FlowIDs       []string  `ch:"flow_ids"`
	Amount        float64   `ch:"amount"`
	Likeness      float64   `ch:"likeness"`
	Success       uint8     `ch:"success"`
}

// judge scores guessing; attempts are enough within span.
func (r guessing) judge(a *alert.Alert, attempts int, span string, c BruteForceConfig) {
	a.EvidenceParams["src"], a.EvidenceParams["dst"], a.EvidenceParams["service"], a.EvidenceParams["site"] = r.Src, r.Dst, r.Service, r.Site
	a.Actor, a.Victim = r.Busiest, r.Dst
	a.Entities = detect.Entities("actor", r.Src, "service", r.Service, "site", r.Site, "victim", r.Dst)
	a.Title = fmt.Sprintf("%s made %d attempts to log in to %s by %s", r.Busiest, r.AllAttempts, r.Dst, r.Service)
	if r.Sources > 1 {
		a.Title = fmt.Sprintf("%d sources made %d attempts to log in to %s by %s", r.Sources, r.AllAttempts, r.Dst, r.Service)
	}
	a.Start, a.End, a.FlowIDs, a.Magnitude = r.First, r.Last, r.FlowIDs, float64(r.AllAttempts)
	a.SubScores = map[string]float64{"amount": r.Amount, "likeness": r.Likeness, "success": float64(r.Success)}
	a.Score = detect.Bounded(0.5*r.Amount + 0.2*r.Likeness + 0.3*float64(r.Success))
	a.Confidence = 0.7
	if r.AllRefusals > 0 {
		a.Confidence = 0.9
	}
	switch {
	case r.BrokenIn > 0:
		a.Severity = alert.High
	case r.Src != "":
		a.Severity = alert.Medium
	default:
		a.Severity = alert.Low
	}
	a.Reasons = []string{
		fmt.Sprintf("%d attempts of %s, port %d, within %s; %d of one source are enough", r.AllAttempts, r.Service, r.LeastPort, span, attempts),
		"by " + strings.Join(r.SourceSample, ", "),
	}
	if r.AllRefusals > 0 {
		a.Reasons = append(a.Reasons, fmt.Sprintf("%d were refused in words", r.AllRefusals))
	} else {
		a.Reasons = append(a.Reasons, fmt.Sprintf("%.0f %% of them have a like size, about %d octets", 100*r.Likeness, r.UsualBytes))
	}
	if len(r.UserSample) > 0 {
		a.Reasons = append(a.Reasons, "users: "+strings.Join(r.UserSample, ", "))
	}
	if r.Src == "" {
		a.Reasons = append(a.Reasons, "the sources are outside, or many")
	} else {
		a.Reasons = append(a.Reasons, "the source is inside")
	}
	if r.BrokenIn > 0 {
		a.Reasons = append(a.Reasons, "a success is suspected: "+strings.Join(r.SuccessSample, ", "))
	}
	a.Unless = []string{
		fmt.Sprintf("fewer than %d attempts of any source, and fewer than %d sources or %d attempts together", attempts, c.MinSources, c.MinTogether),
		fmt.Sprintf("sizes of which less than %.0f %% are alike, if no answer refused", 100*c.MinAlike),
		"the same on three of the seven days before, if the source is inside and no answer refused",
		"source in detect.exempt, or in a network with the role scanner, monitor or backup",
	}
}
