package access

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/analyzer/detect"
)

//go:embed kerberoasting.sql
var kerberoastingSQL string

//go:embed kerberoasting_windows.sql
var kerberoastingWindowsSQL string

// KerberoastingConfig are the thresholds of kerberoasting.
type KerberoastingConfig struct {
	Many int `conf:"many" help:"services whose RC4 tickets one host asks for in 10 minutes, from which it is of high severity"`
}

// newKerberoasting looks for tickets that can be guessed at offline.
func newKerberoasting(own detect.Own, c KerberoastingConfig) detect.Detector {
	return detect.New(detect.Spec[roasting]{
		Info: detect.Info{
			Name: "kerberoasting", Version: 1, Title: "Tickets with weak encipherment", Techniques: []string{"T1558.003"},
			Length: 10 * time.Minute, Step: 5 * time.Minute,
			Doc: `A host is given Kerberos tickets for services (not for the ticket service itself) that are enciphered with RC4, whose passwords can be guessed at offline. The magnitude is
the number of services. Low; medium when RC4 is rare at the site, in less than a tenth of 20 tickets or more of the day before; high from many services.`,
			Controls: []string{
				"sites where RC4 is usual: half of the tickets of the day before and more",
				"tickets with AES, and those of the ticket service",
				"sources in detect.exempt, and networks with the role scanner",
			},
			Parameters: []detect.Parameter{{Name: "many", Value: fmt.Sprint(c.Many), Doc: "services within 10 minutes; tools ask for all that there are"}},
		},
		SQL: detect.Compose(kerberoastingSQL),
		Params: func(w detect.Window) detect.Params {
			return own.Params().Span(w).With("many", detect.Number(c.Many), "src", "", "site", "")
		},
		Judge: func(a *alert.Alert, r *roasting) detect.Verdict {
			r.judge(a, c)
			a.EvidenceParams["src"], a.EvidenceParams["site"] = r.Src, r.Site
			return detect.Raise
		},
		Find: detect.Compose(kerberoastingWindowsSQL),
	})
}

// roasting is a row of the statement: a source.
type roasting struct {
	Site          string    `ch:"site"`
	Src           string    `ch:"src"`
	KDC           string    `ch:"kdc"`
	Services      uint64    `ch:"services"`
	WeakTickets   uint64    `ch:"weak_tickets"`
	TicketsHere   uint64    `ch:"tickets_here"`
	ServiceSample []string  `ch:"service_sample"`
	UserSample    []string  `ch:"user_sample"`
	UsualTickets  uint64    `ch:"usual_tickets"`
	UsualWeak     uint64    `ch:"usual_weak"`
	First         time.Time `ch:"first"`
	Last          time.Time `ch:"last"`
	FlowIDs       []string  `ch:"flow_ids"`
	Breadth       float64   `ch:"breadth"`
	Rarity        float64   `ch:"rarity"`
}

// judge scores what a source asked for.
func (r roasting) judge(a *alert.Alert, c KerberoastingConfig) {
	a.Title = fmt.Sprintf("%s asked for RC4 tickets of %d services", r.Src, r.Services)
	a.Actor, a.Victim, a.Entities = r.Src, r.KDC, detect.Entities("actor", r.Src, "site", r.Site)
	a.Start, a.End, a.FlowIDs, a.Magnitude = r.First, r.Last, r.FlowIDs, float64(r.Services)
	a.SubScores = map[string]float64{"breadth": r.Breadth, "rarity": r.Rarity}
	a.Score = detect.Bounded(0.2 + 0.4*r.Breadth + 0.4*r.Rarity)
	a.Confidence = 0.5
	a.Severity = alert.Low
	switch {
	case r.Services >= uint64(c.Many):
		a.Severity, a.Confidence = alert.High, 0.8
	case r.Rarity >= 0.9:
		a.Severity = alert.Medium
	}
	a.Reasons = []string{
		fmt.Sprintf("%d of %d tickets are enciphered with RC4, for %s; from %d services on it is high", r.WeakTickets, r.TicketsHere, strings.Join(r.ServiceSample, ", "), c.Many),
		fmt.Sprintf("of the day before %d of %d tickets of the site were", r.UsualWeak, r.UsualTickets),
	}
	if len(r.UserSample) > 0 {
		a.Reasons = append(a.Reasons, "users: "+strings.Join(r.UserSample, ", "))
	}
	text, _ := json.Marshal(struct { // numbers and text only: cannot fail
		Of      string `json:"of"`
		Tickets uint64 `json:"tickets"`
		Weak    uint64 `json:"rc4_tickets"`
	}{"tickets of the site of the day before", r.UsualTickets, r.UsualWeak})
	a.Baseline = string(text)
	a.Unless = []string{
		"tickets with AES only",
		"RC4 in half of 20 tickets of the day before or more",
		"source in detect.exempt, or in a network with the role scanner",
	}
}
