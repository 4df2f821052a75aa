package content

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/analyzer/detect"
)

//go:embed tls_profile.sql
var tlsProfileSQL string

//go:embed tls_profile_windows.sql
var tlsProfileWindowsSQL string

// TLSProfileConfig are the thresholds of tls_profile.
type TLSProfileConfig struct {
	HistoryDays int     `conf:"history_days" help:"days that the profile of a server name is made of"`
	YoungDays   int     `conf:"young_days" help:"days for which a JA4 is new to the site"`
	MinClients  int     `conf:"min_clients" help:"clients that a server name needs to have a profile"`
	MaxClients  int     `conf:"max_clients" help:"clients in an hour up to which a new JA4 is one's own"`
	MinDistance float64 `conf:"min_distance" help:"distance to the nearest JA4 of the profile, 0 to 1, from which it does not fit"`
}

// newTLSProfile looks for clients that do not look like those who ask for a server name.
func newTLSProfile(own detect.Own, c TLSProfileConfig) detect.Detector {
	return detect.New(detect.Spec[stranger]{
		Info: detect.Info{
			Name: "tls_profile", Version: 1, Title: "A client that does not go with the server name", Techniques: []string{"T1573", "T1036"},
			Length: time.Hour, Step: time.Hour, Rollups: []string{"beacons_1h", "first_seen"},
			Doc: `A client asks for a server name that many clients have asked for, with a JA4 that is new to the site and far from all that went with the name before: remote control that borrows a well-known name.
The distance to the nearest of them adds up 0.4 for other protocols (ALPN), 0.2 for other ciphers, 0.15 each for other extensions, another version, a number of ciphers and a number of extensions that is more than three off.
Low; medium if the server's address also is in a network (/16, /48) that never served the name. The magnitude is the number of connections.`,
			Controls: []string{
				"new versions of browsers, which keep protocols and numbers",
				"names that few clients know, and those of less than three days: they have no profile",
				"JA4 that more than a few clients have, as after a roll-out",
				"networks of the roles scanner, monitor and lab, and sources in detect.exempt",
			},
			Parameters: []detect.Parameter{
				{Name: "history_days", Value: fmt.Sprint(c.HistoryDays), Doc: "days that the profile is made of"},
				{Name: "young_days", Value: fmt.Sprint(c.YoungDays), Doc: "days for which a JA4 is new to the site"},
				{Name: "min_clients", Value: fmt.Sprint(c.MinClients), Doc: "clients that a name needs to have a profile"},
				{Name: "max_clients", Value: fmt.Sprint(c.MaxClients), Doc: "clients in an hour up to which a new JA4 is one's own"},
				{Name: "min_distance", Value: fmt.Sprint(c.MinDistance), Doc: "two browsers are at most 0.5 apart: ciphers, extensions, and one of the numbers"},
			},
		},
		SQL: detect.Compose(tlsProfileSQL),
		Params: func(w detect.Window) detect.Params {
			return own.Params().Unix(w).With("history_days", detect.Number(c.HistoryDays), "young_days", detect.Number(c.YoungDays), "min_clients", detect.Number(c.MinClients),
				"max_clients", detect.Number(c.MaxClients), "min_distance", detect.Decimal(c.MinDistance), "one", "0", "name", "", "print", "", "site", "")
		},
		Judge: func(a *alert.Alert, r *stranger) detect.Verdict { return r.judge(a, c) },
		Alone: true,
		Find:  detect.Compose(tlsProfileWindowsSQL), FindParams: detect.Params{"history_days": detect.Number(c.HistoryDays), "max_clients": detect.Number(c.MaxClients), "young_days": detect.Number(c.YoungDays)},
	})
}

// stranger is a row of the statement: a name and a JA4 that does not go with it.
type stranger struct {
	Site        string    `ch:"site"`
	Name        string    `ch:"name"`
	Print       string    `ch:"print"`
	Connections uint64    `ch:"connections"`
	Clients     uint64    `ch:"clients"`
	Bytes       uint64    `ch:"bytes"`
	Client      string    `ch:"client"`
	Server      string    `ch:"server"`
	First       time.Time `ch:"first"`
	Last        time.Time `ch:"last"`
	FlowIDs     []string  `ch:"flow_ids"`
	Prints      []string  `ch:"prints"`
	Who         uint64    `ch:"who"`
	Days        uint64    `ch:"days"`
	Calls       uint64    `ch:"calls"`
	Elsewhere   uint8     `ch:"elsewhere"`
	Distance    float64   `ch:"distance"`
	Rarity      float64   `ch:"rarity"`
}

func (r stranger) judge(a *alert.Alert, c TLSProfileConfig) detect.Verdict {
	a.Severity = alert.Low
	a.Reasons = []string{
		fmt.Sprintf("JA4 %s is new to the site; the nearest that went with the name is %.2f away, %.2f or more is too far", r.Print, r.Distance, c.MinDistance),
		fmt.Sprintf("%d clients have asked for it on %d days, %d times, with %s", r.Who, r.Days, r.Calls, strings.Join(r.Prints, ", ")),
		fmt.Sprintf("%d connections of %d clients, %s", r.Connections, r.Clients, detect.Size(float64(r.Bytes))),
	}
	if r.Elsewhere > 0 {
		a.Severity = alert.Medium
		a.Reasons = append(a.Reasons, "the server "+r.Server+" is in a network that never served the name")
	}
	who := r.Client
	if r.Clients > 1 {
		who = fmt.Sprintf("%d clients", r.Clients)
	} else {
		a.Actor = r.Client
	}
	a.Title = fmt.Sprintf("%s ask for %s like nobody before", who, r.Name)
	if r.Clients == 1 {
		a.Title = fmt.Sprintf("%s asks for %s like nobody before", who, r.Name)
	}
	a.Victim, a.Entities = r.Name, detect.Entities("name", r.Name, "ja4", r.Print, "site", r.Site)
	a.Start, a.End, a.FlowIDs, a.Magnitude = r.First, r.Last, r.FlowIDs, float64(r.Connections)
	a.SubScores = map[string]float64{"distance": r.Distance, "rarity": r.Rarity}
	a.Score, a.Confidence = detect.Bounded(0.7*r.Distance+0.3*r.Rarity), 0.6
	profile, err := json.Marshal(map[string]any{"clients": r.Who, "days": r.Days, "connections": r.Calls, "ja4": r.Prints})
	if err == nil { // numbers and texts always are
		a.Baseline = string(profile)
	}
	a.Unless = []string{fmt.Sprintf("a JA4 nearer than %.2f to one that goes with the name", c.MinDistance), fmt.Sprintf("known to the site for more than %d days, or used by more than %d clients", c.YoungDays, c.MaxClients),
		"clients in networks of the roles scanner, monitor or lab, or in detect.exempt"}
	p := a.EvidenceParams
	p["one"], p["name"], p["print"], p["site"] = "1", r.Name, r.Print, r.Site
	return detect.Raise
}
