package novelty

import (
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // zones of rules, where the system has none

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/analyzer/detect"
)

// Rule is one rule about who may reach what, and when.
type Rule struct {
	Name     string   `conf:"name" help:"what the incident is called after; of its own"`
	Action   string   `conf:"action" help:"deny: what fits all of it is against the rule; allow: what its ends do besides is"`
	From     []string `conf:"from" help:"initiators: prefixes, network:NAME, role:NAME, inside, outside; empty: anybody"`
	To       []string `conf:"to" help:"responders, likewise"`
	Ports    []string `conf:"ports" help:"destination ports and ranges (8000-8100); empty: any"`
	Apps     []string `conf:"apps" help:"applications or services as in flows; empty: any"`
	Hours    string   `conf:"hours" help:"from-to as HH:MM-HH:MM, may pass midnight; empty: all day"`
	Weekdays []string `conf:"weekdays" help:"mon, tue, wed, thu, fri, sat, sun; empty: all"`
	Zone     string   `conf:"zone" help:"time zone of hours and weekdays, Europe/Berlin; empty: UTC"`
	Severity string   `conf:"severity" help:"low, medium, high or critical; empty: medium"`
}

// matcher is a rule as its statement wants it.
type matcher struct {
	rule     Rule
	severity alert.Severity
	params   detect.Params
}

// maxPorts bounds what a rule names.
const maxPorts = 4096

// checkRules says what is wrong with the rules.
func checkRules(rules []Rule) error {
	var errs []error
	seen := map[string]bool{}
	for i, r := range rules {
		if r.Name == "" {
			errs = append(errs, fmt.Errorf("policy: rule %d has no name", i+1))
		} else if seen[r.Name] {
			errs = append(errs, fmt.Errorf("policy: %s: there are two rules of that name", r.Name))
		}
		seen[r.Name] = true
		if _, err := r.match(); err != nil {
			errs = append(errs, fmt.Errorf("policy: %s: %w", r.Name, err))
		}
	}
	return errors.Join(errs...)
}

// match reads a rule.
func (r Rule) match() (matcher, error) {
	m := matcher{rule: r, severity: alert.Severity(cmp.Or(r.Severity, string(alert.Medium))), params: detect.Params{"rule": r.Name}}
	if m.severity.Rank() < 1 {
		return m, fmt.Errorf("severity: %q is none of low, medium, high, critical", r.Severity)
	}
	switch r.Action {
	case "deny":
		m.params["deny"] = "1"
	case "allow":
		m.params["deny"] = "0"
	default:
		return m, fmt.Errorf("action: %q is neither deny nor allow", r.Action)
	}
	if len(r.From)+len(r.To)+len(r.Ports)+len(r.Apps) == 0 {
		return m, errors.New("it fits everything: give from, to, ports or apps")
	}
	for name, list := range map[string][]string{"from": r.From, "to": r.To} {
		if err := m.end(name, list); err != nil {
			return m, fmt.Errorf("%s: %w", name, err)
		}
	}
	ports, err := readPorts(r.Ports)
	if err != nil {
		return m, fmt.Errorf("ports: %w", err)
	}
	m.params["ports"], m.params["ports_any"] = "["+strings.Join(ports, ",")+"]", flag(len(ports) == 0)
	m.params["apps"], m.params["apps_any"] = coded(r.Apps), flag(len(r.Apps) == 0)
	if m.params["hour_from"], m.params["hour_to"], err = readHours(r.Hours); err != nil {
		return m, fmt.Errorf("hours: %w", err)
	}
	if m.params["weekdays"], err = readWeekdays(r.Weekdays); err != nil {
		return m, fmt.Errorf("weekdays: %w", err)
	}
	m.params["zone"] = cmp.Or(r.Zone, "UTC")
	if _, err := time.LoadLocation(m.params["zone"]); err != nil {
		return m, fmt.Errorf("zone: %w", err)
	}
	return m, nil
}

// end reads who is at one end.
func (m *matcher) end(name string, list []string) error {
	var networks []netip.Prefix
	var names, roles []string
	side := ""
	for _, s := range list {
		kind, value, _ := strings.Cut(s, ":")
		switch {
		case s == "inside" || s == "outside":
			side = s
		case kind == "network" && value != "":
			names = append(names, value)
		case kind == "role" && value != "":
			roles = append(roles, value)
		default:
			p, err := netip.ParsePrefix(s)
			if a, bad := netip.ParseAddr(s); err != nil && bad == nil {
				p, err = a.Prefix(a.BitLen())
			}
			if err != nil {
				return fmt.Errorf("%q is no address, prefix, network:NAME, role:NAME, inside or outside", s)
			}
			networks = append(networks, p)
		}
	}
	m.params = m.params.Networks(name, networks).With(name+"_names", coded(names), name+"_roles", coded(roles), name+"_side", side, name+"_any", flag(len(list) == 0))
	return nil
}

func flag(b bool) string {
	if b {
		return "1"
	}
	return "0"
}

// coded writes a list of texts for a statement that compares their hex: quotes and
// backslashes do not get through a parameter of Array(String) unharmed.
func coded(list []string) string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = "=" + strings.ToUpper(hex.EncodeToString([]byte(s)))
	}
	return strings.Join(out, ",")
}

// readPorts reads ports and ranges.
func readPorts(list []string) ([]string, error) {
	var out []string
	for _, s := range list {
		from, to, isRange := strings.Cut(s, "-")
		low, err := strconv.ParseUint(from, 10, 16)
		high := low
		if err == nil && isRange {
			high, err = strconv.ParseUint(to, 10, 16)
		}
		if err != nil || high < low {
			return nil, fmt.Errorf("%q is no port and no range of ports", s)
		}
		if uint64(len(out))+high-low >= maxPorts {
			return nil, fmt.Errorf("more than %d ports", maxPorts)
		}
		for p := low; p <= high; p++ {
			out = append(out, strconv.FormatUint(p, 10))
		}
	}
	return out, nil
}

// readHours reads HH:MM-HH:MM as minutes of a day; empty is all of it.
func readHours(s string) (from, to string, err error) {
	if s == "" {
		return "0", "1440", nil
	}
	first, last, ok := strings.Cut(s, "-")
	f, err1 := time.Parse("15:04", first)
	l, err2 := time.Parse("15:04", strings.Replace(last, "24:00", "00:00", 1))
	if !ok || err1 != nil || err2 != nil || first == last {
		return "", "", fmt.Errorf("%q is not HH:MM-HH:MM", s)
	}
	end := l.Hour()*60 + l.Minute()
	if end == 0 {
		end = 1440
	}
	return strconv.Itoa(f.Hour()*60 + f.Minute()), strconv.Itoa(end), nil
}

// readWeekdays reads names of days as ClickHouse counts them, Monday is 1; none
// are all.
func readWeekdays(list []string) (string, error) {
	if len(list) == 0 {
		return "[1,2,3,4,5,6,7]", nil
	}
	var out []string
	for _, s := range list {
		i := slices.Index([]string{"mon", "tue", "wed", "thu", "fri", "sat", "sun"}, strings.ToLower(s))
		if i < 0 {
			return "", fmt.Errorf("%q is none of mon, tue, wed, thu, fri, sat, sun", s)
		}
		out = append(out, strconv.Itoa(i+1))
	}
	return "[" + strings.Join(out, ",") + "]", nil
}
