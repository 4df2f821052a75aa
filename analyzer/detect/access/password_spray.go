package access

import (
	_ "embed"
	"fmt"
	"strings"
	"time"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/analyzer/detect"
)

//go:embed password_spray.sql
var passwordSpraySQL string

//go:embed password_spray_windows.sql
var passwordSprayWindowsSQL string

// PasswordSprayConfig are the thresholds of password_spray.
type PasswordSprayConfig struct {
	MinUsers int `conf:"min_users" help:"users whose logins were refused to one source in an hour"`
	MinHosts int `conf:"min_hosts" help:"hosts at which a source inside guessed, two attempts each or more"`
}

// newPasswordSpray looks for few attempts each at many users or hosts. quick is
// from how many attempts at one host on brute_force speaks.
func newPasswordSpray(own detect.Own, c PasswordSprayConfig, quick int) detect.Detector {
	return detect.New(detect.Spec[spray]{
		Info: detect.Info{
			Name: "password_spray", Version: 1, Title: "A few passwords for many", Techniques: []string{"T1110.003"},
			Length: time.Hour, Step: 30 * time.Minute,
			Doc: `A source is refused in words the logins of many users, at most three attempts each; or a source inside guesses at many hosts, two attempts each or more, but fewer than
brute_force wants at any. What an attempt is: see brute_force. The magnitude is the number of users or hosts. Medium from inside, low from outside; high when a login was
accepted as well.`,
			Controls: []string{
				"users who mistype: one name, or few",
				"addresses that many users share: networks with the role nat or proxy",
				"programs that reach many hosts with sessions of more than 6 kB one way",
				"sources in detect.exempt, and networks with the role scanner, monitor or backup",
			},
			Parameters: []detect.Parameter{
				{Name: "min_users", Value: fmt.Sprint(c.MinUsers), Doc: "users in an hour"},
				{Name: "min_hosts", Value: fmt.Sprint(c.MinHosts), Doc: "hosts in an hour, from inside"},
			},
		},
		SQL: detect.Compose(passwordSpraySQL),
		Params: func(w detect.Window) detect.Params {
			return own.Params().Span(w).With("min_users", detect.Number(c.MinUsers), "min_hosts", detect.Number(c.MinHosts), "quick", detect.Number(quick), "src", "", "site", "")
		},
		Judge: func(a *alert.Alert, r *spray) detect.Verdict {
			r.judge(a, c)
			a.EvidenceParams["src"], a.EvidenceParams["site"] = r.Src, r.Site
			return detect.Raise
		},
		Find:       detect.Compose(passwordSprayWindowsSQL),
		FindParams: detect.Params{"min_users": detect.Number(c.MinUsers), "min_hosts": detect.Number(c.MinHosts)},
	})
}

// spray is a row of the statement: a source.
type spray struct {
	Site          string    `ch:"site"`
	Src           string    `ch:"src"`
	Inside        bool      `ch:"inside"`
	Users         uint64    `ch:"users"`
	Hosts         uint64    `ch:"hosts"`
	GuessedHosts  uint64    `ch:"guessed_hosts"`
	AllAttempts   uint64    `ch:"all_attempts"`
	UserSample    []string  `ch:"user_sample"`
	HostSample    []string  `ch:"host_sample"`
	ServiceSample []string  `ch:"service_sample"`
	Accepted      uint64    `ch:"accepted"`
	First         time.Time `ch:"first"`
	Last          time.Time `ch:"last"`
	FlowIDs       []string  `ch:"flow_ids"`
	Breadth       float64   `ch:"breadth"`
	Thinness      float64   `ch:"thinness"`
}

// judge scores a spray.
func (r spray) judge(a *alert.Alert, c PasswordSprayConfig) {
	a.Actor, a.Entities = r.Src, detect.Entities("actor", r.Src, "site", r.Site)
	if r.Hosts == 1 {
		a.Victim = r.HostSample[0]
	}
	a.Title = fmt.Sprintf("%s tried a few passwords for %d users", r.Src, r.Users)
	if r.GuessedHosts > r.Users {
		a.Title = fmt.Sprintf("%s tried a few passwords at %d hosts", r.Src, r.GuessedHosts)
	}
	a.Start, a.End, a.FlowIDs, a.Magnitude = r.First, r.Last, r.FlowIDs, float64(max(r.Users, r.GuessedHosts))
	a.SubScores = map[string]float64{"breadth": r.Breadth, "thinness": r.Thinness}
	a.Score = detect.Bounded(0.7*r.Breadth + 0.2*r.Thinness)
	a.Confidence = 0.7
	switch {
	case r.Accepted > 0 && r.Users >= uint64(c.MinUsers):
		a.Severity = alert.High
	case r.Inside:
		a.Severity = alert.Medium
	default:
		a.Severity = alert.Low
	}
	a.Reasons = []string{
		fmt.Sprintf("%d attempts in an hour at %d hosts by %s; %d users or %d hosts are enough", r.AllAttempts, r.Hosts, strings.Join(r.ServiceSample, ", "), c.MinUsers, c.MinHosts),
		"hosts: " + strings.Join(r.HostSample, ", "),
	}
	if r.Users > 0 {
		a.Reasons = append(a.Reasons, fmt.Sprintf("%d users were refused: %s", r.Users, strings.Join(r.UserSample, ", ")))
	}
	if r.Accepted > 0 {
		a.Reasons = append(a.Reasons, fmt.Sprintf("%d connections to the same hosts were let in", r.Accepted))
	}
	a.Unless = []string{
		fmt.Sprintf("fewer than %d users, or more than three attempts for each", c.MinUsers),
		fmt.Sprintf("and fewer than %d hosts with two attempts", c.MinHosts),
		"source in detect.exempt, or in a network with the role scanner, monitor, backup, nat or proxy",
	}
}
