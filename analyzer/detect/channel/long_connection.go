package channel

import (
	"cmp"
	_ "embed"
	"fmt"
	"strings"
	"time"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/analyzer/detect"
)

//go:embed long_connection.sql
var longConnectionSQL string

//go:embed long_connection_windows.sql
var longConnectionWindowsSQL string

// LongConnectionConfig are the thresholds of long_connection.
type LongConnectionConfig struct {
	MinDuration time.Duration `conf:"min_duration" help:"least time a connection lasts, open ones included"`
	MaxClients  int           `conf:"max_clients" help:"inside hosts that call the destination within a day, above which it is not rare"`
	QuietApps   []string      `conf:"quiet_apps" help:"applications that keep connections open by design: VPN, push"`
	InsideApps  []string      `conf:"inside_apps" help:"applications that do so between inside hosts"`
}

// newLongConnection looks for connections that do not end.
func newLongConnection(own detect.Own, known []string, c LongConnectionConfig) detect.Detector {
	return detect.New(detect.Spec[lasting]{
		Info: detect.Info{
			Name: "long_connection", Version: 1, Title: "Long connection to a rare destination", Techniques: []string{"T1571", "T1572"},
			Length: time.Hour, Step: time.Hour, Rollups: []string{"flows_1h"},
			Doc: `A connection that has lasted min_duration or longer, whether it is open still or not, to a destination that at most max_clients hosts called within a day. The records into which the
probe cuts it are put together, for up to 24 hours. The score is a product. duration: 0.4 at an hour, 1 at 12. rarity: 1 by the root of the number of clients. reach: 0.5 when both ends are inside. Severity by RITA's
steps of 1, 4, 8 and 12 hours: low from 1 and 4, medium from 8; info or low where both are inside or the source is outside. The magnitude is the number of seconds.`,
			Controls: []string{
				"VPN and push applications (quiet_apps), names of updates and push services (beacon.known_names), between inside hosts also inside_apps.",
				"Destinations with many clients, one-sided traffic, multicast and exempt sources are left out.",
			},
			Parameters: []detect.Parameter{
				{Name: "min_duration", Value: c.MinDuration.String(), Doc: "RITA begins at 1 h, Slips at 1500 s"},
				{Name: "max_clients", Value: fmt.Sprint(c.MaxClients), Doc: "hosts in 24 hours"},
				{Name: "quiet_apps", Value: strings.Join(c.QuietApps, " "), Doc: "of the probe's names"},
				{Name: "inside_apps", Value: strings.Join(c.InsideApps, " "), Doc: "of the probe's names"},
			},
		},
		SQL:        detect.Compose(longConnectionSQL),
		Find:       detect.Compose(longConnectionWindowsSQL),
		FindParams: detect.Params{"min_seconds": detect.Number(int64(c.MinDuration / time.Second))},
		Params: func(w detect.Window) detect.Params {
			return own.Params().Span(w).With("min_seconds", detect.Number(int64(c.MinDuration/time.Second)), "max_clients", detect.Number(c.MaxClients),
				"quiet_apps", textList(c.QuietApps), "inside_apps", textList(c.InsideApps), "known", textList(known), "probe", "", "epoch", "0", "worker", "0", "flow", "0")
		},
		Judge: func(a *alert.Alert, r *lasting) detect.Verdict {
			r.judge(a, c)
			a.EvidenceParams["probe"], a.EvidenceParams["epoch"] = r.Probe, detect.Number(r.Epoch)
			a.EvidenceParams["worker"], a.EvidenceParams["flow"] = detect.Number(r.Worker), fmt.Sprint(r.Flow)
			return detect.Raise
		},
	})
}

// lasting is a row of the statement.
type lasting struct {
	Site        string    `ch:"site"`
	Probe       string    `ch:"probe"`
	Epoch       uint64    `ch:"epoch"`
	Worker      uint16    `ch:"worker"`
	Flow        uint64    `ch:"flow"`
	Src         string    `ch:"src"`
	Dst         string    `ch:"dst"`
	Port        uint16    `ch:"port"`
	Protocol    uint8     `ch:"protocol"`
	First       time.Time `ch:"first"`
	Last        time.Time `ch:"last"`
	Sent        uint64    `ch:"sent"`
	Received    uint64    `ch:"received"`
	Application string    `ch:"application"`
	Name        string    `ch:"name"`
	Ended       string    `ch:"ended"`
	Seconds     float64   `ch:"seconds"`
	Clients     uint64    `ch:"clients"`
	Crossing    string    `ch:"crossing"`
	Duration    float64   `ch:"duration"`
	Rarity      float64   `ch:"rarity"`
	Reach       float64   `ch:"reach"`
}

// judge writes what was found.
func (r *lasting) judge(a *alert.Alert, c LongConnectionConfig) {
	target := cmp.Or(r.Name, r.Dst)
	lasted := time.Duration(r.Seconds) * time.Second
	a.Actor, a.Victim, a.Entities = r.Src, target, detect.Entities("actor", r.Src, "victim", target, "port", detect.Service(r.Protocol, r.Port), "site", r.Site)
	a.Title = fmt.Sprintf("%s is connected to %s for %v", r.Src, target, lasted)
	a.Start, a.End, a.Magnitude = r.First, r.Last, r.Seconds
	a.FlowIDs = []string{fmt.Sprintf("%s/%d/%d/%d", r.Probe, r.Epoch, r.Worker, r.Flow)}
	a.SubScores = map[string]float64{"duration": r.Duration, "rarity": r.Rarity, "reach": r.Reach}
	a.Score, a.Confidence = detect.Bounded(r.Duration*r.Rarity*r.Reach), 0.6
	a.Reasons = []string{
		fmt.Sprintf("%v on %s; %v is enough", lasted, detect.Service(r.Protocol, r.Port), c.MinDuration),
		fmt.Sprintf("%d hosts called the destination within a day, up to %d is rare; %s", r.Clients, c.MaxClients, r.Crossing),
		fmt.Sprintf("%s sent, %s received, application %s", detect.Size(float64(r.Sent)), detect.Size(float64(r.Received)), cmp.Or(r.Application, "unknown")),
	}
	switch {
	case r.Crossing != "to outside":
		a.Severity = alert.Info
		if r.Seconds >= 4*3600 && (r.Application == "" || r.Application == "unknown") {
			a.Severity = alert.Low
		}
	case r.Seconds >= 8*3600:
		a.Severity = alert.Medium
	default:
		a.Severity = alert.Low
	}
	a.Unless = []string{fmt.Sprintf("less than %v, or more than %d clients of the destination", c.MinDuration, c.MaxClients), "an application that keeps connections open by design"}
}
