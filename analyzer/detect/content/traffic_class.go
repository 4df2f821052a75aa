package content

import (
	"cmp"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/analyzer/detect"
	"github.com/tapwatch/tapwatch/analyzer/model"
)

//go:embed traffic_class.sql
var trafficClassSQL string

//go:embed traffic_class_flows.sql
var trafficClassFlowsSQL string

// TrafficClassConfig are the thresholds of traffic_class.
type TrafficClassConfig struct {
	Model    string `conf:"model" help:"file of analyzer model train --label malicious, or with labels of one's own; empty: off"`
	MinFlows int    `conf:"min_flows" help:"connections of a client to a server in an hour that the model takes for one class"`
}

const (
	benign        = "benign" // the class of which nothing is said
	maxClassFlows = 500000   // flows of a window that are judged
	maxClassKeys  = 1000     // of an alert that its evidence names
	mediumFrom    = 0.9      // mean confidence
)

// trafficClass asks a model.
type trafficClass struct {
	own    detect.Own
	config TrafficClassConfig
}

func newTrafficClass(own detect.Own, c TrafficClassConfig) detect.Detector {
	return trafficClass{own, c}
}

func (d trafficClass) Info() detect.Info {
	return detect.Info{
		Name: "traffic_class", Version: 1, Title: "Traffic that looks like a malicious one", Techniques: []string{"T1573", "T1071"},
		Length: time.Hour, Step: time.Hour,
		Doc: `A model (analyzer model train --label malicious) takes connections of an inside host for a class that is not benign, by their shape alone: sizes and gaps of the first packets, and what the ClientHello says.
It says unknown of what it is not sure of, and then nothing is raised. One incident of client, server and class: medium if its mean confidence is 0.9 or more, else low. The magnitude is the number of connections. Without a model
the detector is off. The model's range, seed and own evaluation are in the incident.`,
		Controls: []string{
			"answers below the model's limit of confidence, and flows unlike any that it has seen",
			"fewer connections than min_flows",
			"networks of the roles scanner, monitor and lab, and sources in detect.exempt",
		},
		Parameters: []detect.Parameter{
			{Name: "model", Value: d.config.Model, Doc: "file of the model; empty: off"},
			{Name: "min_flows", Value: fmt.Sprint(d.config.MinFlows), Doc: "connections in an hour; a single one may look like anything"},
		},
	}
}

// Windows returns none without a model, else all with a flow that has a shape.
func (d trafficClass) Windows(ctx context.Context, db detect.DB, span detect.Window) ([]time.Time, error) {
	if d.config.Model == "" {
		return nil, nil
	}
	var list []time.Time
	for at := span.Start.UTC().Truncate(time.Hour); at.Before(span.End); at = at.Add(time.Hour) {
		list = append(list, at)
	}
	return list, nil
}

// classified is a client, a server and a class.
type classified struct{ site, src, dst, class string }

// evidence is what is known of it.
type classEvidence struct {
	port        uint16
	name        string
	flows       []model.Row
	confidences float64
}

func (d trafficClass) Detect(ctx context.Context, db detect.DB, w detect.Window) (detect.Result, error) {
	if d.config.Model == "" {
		return detect.Result{}, nil
	}
	file, err := model.Load(d.config.Model)
	if err != nil {
		return detect.Result{}, fmt.Errorf("detect traffic_class: %w", err)
	}
	rows, err := detect.All[model.Row](ctx, db, detect.Compose(trafficClassFlowsSQL), d.own.Params().Span(w).With("limit", detect.Number(maxClassFlows)))
	if err != nil {
		return detect.Result{}, fmt.Errorf("detect traffic_class: %w", err)
	}
	found := map[classified]map[uint16]*classEvidence{}
	judged := 0
	for _, r := range rows {
		f := r.Flow()
		if !f.Usable() {
			continue
		}
		judged++
		answer := file.Model.Classify(model.FeaturesOf(&f))
		if answer.Class == model.Unknown || answer.Class == benign {
			continue
		}
		key := classified{r.Site, r.Host, r.Server, answer.Class}
		if found[key] == nil {
			found[key] = map[uint16]*classEvidence{}
		}
		e := found[key][r.Port]
		if e == nil {
			e = &classEvidence{port: r.Port}
			found[key][r.Port] = e
		}
		e.name = max(e.name, r.SNI)
		e.flows, e.confidences = append(e.flows, r), e.confidences+answer.Confidence
	}
	baseline, err := json.Marshal(map[string]any{"model": file.Kind, "trained_from": file.From, "trained_to": file.To, "seed": file.Seed, "rows": file.Rows, "evaluation": file.Evaluation})
	if err != nil {
		return detect.Result{}, fmt.Errorf("detect traffic_class: %w", err)
	}
	result := detect.Result{Judged: judged}
	order := func(a, b classified) int {
		return cmp.Or(cmp.Compare(a.site, b.site), cmp.Compare(a.src, b.src), cmp.Compare(a.dst, b.dst), cmp.Compare(a.class, b.class))
	}
	for _, key := range slices.SortedFunc(maps.Keys(found), order) {
		for _, port := range slices.Sorted(maps.Keys(found[key])) {
			if e := found[key][port]; len(e.flows) >= d.config.MinFlows {
				a := d.alert(key, e, w)
				a.Baseline = string(baseline)
				result.Alerts = append(result.Alerts, a)
			}
		}
	}
	return result, nil
}

func (d trafficClass) alert(key classified, e *classEvidence, w detect.Window) alert.Alert {
	a := detect.Base(d.Info(), w)
	n := len(e.flows)
	slices.SortFunc(e.flows, func(x, y model.Row) int { return cmp.Or(x.Start.Compare(y.Start), cmp.Compare(x.Key, y.Key)) })
	a.Start, a.End = e.flows[0].Start, e.flows[0].End
	var keys []string
	for _, r := range e.flows {
		if r.End.After(a.End) {
			a.End = r.End
		}
		if len(a.FlowIDs) < 5 {
			a.FlowIDs = append(a.FlowIDs, r.ID)
		}
		if len(keys) < maxClassKeys {
			keys = append(keys, strconv.FormatUint(r.Key, 10))
		}
	}
	slices.Sort(keys)
	a.Confidence = min(1, e.confidences/float64(n))
	volume := min(1, math.Log10(1+float64(len(keys)))/3)
	a.SubScores = map[string]float64{"volume": volume}
	a.Score, a.Magnitude, a.Severity = detect.Bounded(0.7*a.Confidence+0.3*volume), float64(n), alert.Low
	if a.Confidence >= mediumFrom {
		a.Severity = alert.Medium
	}
	a.Actor, a.Victim = key.src, key.dst
	a.Entities = detect.Entities("actor", key.src, "server", key.dst, "service", detect.Service(e.flows[0].Protocol, e.port), "class", key.class, "site", key.site)
	to := key.dst
	if e.name != "" {
		to += " (" + e.name + ")"
	}
	a.Title = fmt.Sprintf("Traffic of %s to %s looks like %s", key.src, to, key.class)
	a.Reasons = []string{fmt.Sprintf("a model takes %d connections for %s, with a mean confidence of %.2f; %d in an hour are enough, from %.1f it is medium", n, key.class, a.Confidence, d.config.MinFlows, mediumFrom)}
	a.Unless = []string{"a confidence below the model's limit", fmt.Sprintf("fewer than %d connections in an hour", d.config.MinFlows), "clients in networks of the roles scanner, monitor or lab, or in detect.exempt"}
	a.EvidenceSQL = detect.Compose(trafficClassSQL)
	a.EvidenceParams = detect.Params{}.Span(w).With("site", key.site, "src", key.src, "dst", key.dst, "port", detect.Number(e.port), "keys", "["+strings.Join(keys, ",")+"]")
	return a
}
