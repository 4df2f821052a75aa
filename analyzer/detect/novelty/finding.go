package novelty

import (
	"time"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/analyzer/detect"
)

// finding is a row of every statement here: who did what to whom, how much of it,
// and two scores of 0 to 1 that the statement makes.
type finding struct {
	Site     string    `ch:"site"`
	Actor    string    `ch:"actor"`   // address or card, may be empty
	Victim   string    `ch:"victim"`  // address or name, may be empty
	Value    string    `ch:"value"`   // what tells it from others of the same pair, may be empty
	Details  []string  `ch:"details"` // for people, a few, in order
	Amount   float64   `ch:"amount"`  // the magnitude, above 0
	Hosts    uint64    `ch:"hosts"`   // inside hosts concerned, or that do the same
	Bytes    uint64    `ch:"bytes"`   // octets concerned
	Learning bool      `ch:"learning"`
	First    time.Time `ch:"first"`
	Last     time.Time `ch:"last"`
	FlowIDs  []string  `ch:"flow_ids"`
	Strength float64   `ch:"strength"`
	Rarity   float64   `ch:"rarity"`
}

// all are the parameters of a statement that narrow it to one finding, with the
// values that mean all.
func all(p detect.Params) detect.Params {
	return p.With("one", "0", "site", "", "actor", "", "victim", "", "value", "")
}

// raise fills in what all findings have in common; the entities are pairs of role
// and value.
func (c *finding) raise(a *alert.Alert, severity alert.Severity, confidence float64, title string, entities ...string) detect.Verdict {
	a.Title, a.Severity, a.Confidence = title, severity, confidence
	a.Actor, a.Victim = c.Actor, c.Victim
	a.Entities = detect.Entities(append(entities, "site", c.Site)...)
	a.Start, a.End, a.FlowIDs, a.Magnitude = c.First, c.Last, c.FlowIDs, max(c.Amount, 1)
	a.SubScores = map[string]float64{"strength": c.Strength, "rarity": c.Rarity}
	a.Score = max(0.01, detect.Bounded(0.6*c.Strength+0.4*c.Rarity))
	p := a.EvidenceParams
	p["one"], p["site"], p["actor"], p["victim"], p["value"] = "1", c.Site, c.Actor, c.Victim, c.Value
	return detect.Raise
}
