package model

import (
	"bufio"
	"cmp"
	"context"
	_ "embed"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/tapwatch/tapwatch/analyzer/detect"
)

//go:embed flows.sql
var flowsSQL string

//go:embed incidents.sql
var incidentsSQL string

// Labels of Source.
const (
	LabelApp       = "app"       // the application that the probe recognised by content
	LabelService   = "service"   // the service above it
	LabelMalicious = "malicious" // the detector of a confirmed incident, or benign
	LabelFile      = "file"      // what a file of labels says
	LabelNone      = "none"      // no class is asked for
)

// Source is where flows with a class come from.
type Source struct {
	Label  string
	Labels Labels // for LabelFile
	Limit  int    // flows that are read at most, chosen by Seed: 200000
	Seed   uint64
}

// Labels are classes by community id, address or server name, as a CSV of
// key,class has them. The first of these three that is there counts.
type Labels map[string]string

// maxLabels bounds a file of labels.
const maxLabels = 1 << 20

// ReadLabels reads a CSV of key,class. A line that begins with # is a comment.
func ReadLabels(r io.Reader) (Labels, error) {
	c := csv.NewReader(r)
	c.Comment, c.FieldsPerRecord, c.ReuseRecord = '#', 2, true
	list := Labels{}
	for {
		row, err := c.Read()
		if errors.Is(err, io.EOF) {
			return list, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read labels: %w", err)
		}
		if row[0] == "" || row[1] == "" || row[1] == Unknown {
			line, _ := c.FieldPos(0)
			return nil, fmt.Errorf("read labels: line %d: %q, %q: not a key and a class", line, row[0], row[1])
		}
		if len(list) == maxLabels {
			return nil, fmt.Errorf("read labels: more than %d", maxLabels)
		}
		list[strings.ToLower(strings.Clone(row[0]))] = strings.Clone(row[1])
	}
}

// of looks a flow up.
func (l Labels) of(community string, f *Flow) string {
	return cmp.Or(l[strings.ToLower(community)], l[f.Server], l[f.Host], l[strings.ToLower(f.SNI)])
}

// stored is a flow and where it was.
type stored struct {
	Flow
	Site, ID, Community string
	Start               time.Time
}

// Read returns the flows of a span with their classes.
func (s Source) Read(ctx context.Context, db detect.DB, span detect.Window) ([]Labelled, error) {
	if s.Label == LabelMalicious {
		return s.malicious(ctx, db, span)
	}
	kind := s.Label
	if kind == LabelFile || kind == LabelNone {
		kind = ""
	}
	rows, err := s.flows(ctx, db, span, kind, 0, nil)
	if err != nil {
		return nil, err
	}
	var list []Labelled
	for _, r := range rows {
		list = append(list, Labelled{r.Flow, s.class(r.Community, &r.Flow), r.Site + " " + r.Host, r.ID})
	}
	return list, nil
}

// class is that of a flow; empty: none is known.
func (s Source) class(community string, f *Flow) string {
	switch s.Label {
	case LabelService:
		return f.Service
	case LabelFile:
		return s.Labels.of(community, f)
	case LabelNone:
		return ""
	}
	if f.AppSource != "dpi" || f.App == Unknown {
		return ""
	}
	return f.App
}

func (s Source) flows(ctx context.Context, db detect.DB, span detect.Window, kind string, clients int, names []string) ([]stored, error) {
	p := detect.Params{"from": detect.Number(span.Start.UnixNano()), "to": detect.Number(span.End.UnixNano()), "seed": detect.Number(int64(s.Seed >> 1)), "kind": kind,
		"clients": detect.Number(clients), "names": "[]", "limit": detect.Number(s.Limit)}
	if len(names) > 0 {
		p["names"] = "['" + strings.Join(names, "','") + "']"
	}
	var list []stored
	rows, err := detect.All[Row](ctx, db, detect.Compose(flowsSQL), p)
	if err != nil {
		return nil, fmt.Errorf("read flows for a model: %w", err)
	}
	for _, r := range rows {
		list = append(list, stored{r.Flow(), r.Site, r.ID, r.Community, r.Start})
	}
	return list, nil
}

// malicious labels the flows of confirmed incidents by their detector, and those of
// clients that are in none as benign.
func (s Source) malicious(ctx context.Context, db detect.DB, span detect.Window) ([]Labelled, error) {
	type incident struct {
		Detector string    `ch:"detector"`
		Actor    string    `ch:"actor"`
		Victim   string    `ch:"victim"`
		Start    time.Time `ch:"start"`
		End      time.Time `ch:"end"`
	}
	confirmed, err := detect.All[incident](ctx, db, detect.Compose(incidentsSQL), detect.Params{"from": detect.Number(span.Start.UnixNano()), "to": detect.Number(span.End.UnixNano())})
	if err != nil {
		return nil, fmt.Errorf("read confirmed incidents: %w", err)
	}
	var actors []string
	for _, c := range confirmed {
		if !strings.ContainsAny(c.Actor, `'\`) {
			actors = append(actors, c.Actor)
		}
	}
	slices.Sort(actors)
	actors = slices.Compact(actors)
	if len(actors) == 0 {
		return nil, errors.New("read confirmed incidents: none has the verdict true and an actor in the range")
	}
	half := s
	half.Limit = s.Limit / 2
	bad, err := half.flows(ctx, db, span, "", 1, actors)
	if err != nil {
		return nil, err
	}
	good, err := half.flows(ctx, db, span, "", 2, actors)
	if err != nil {
		return nil, err
	}
	var list []Labelled
	for _, r := range bad {
		for _, c := range confirmed {
			if c.Actor == r.Host && (c.Victim == "" || c.Victim == r.Server || c.Victim == r.SNI) && !r.Start.Before(c.Start) && !r.Start.After(c.End) {
				list = append(list, Labelled{r.Flow, c.Detector, r.Site + " " + r.Host, r.ID})
				break
			}
		}
	}
	for _, r := range good {
		list = append(list, Labelled{r.Flow, "benign", r.Site + " " + r.Host, r.ID})
	}
	return list, nil
}

// maxLine bounds a line of a file of flows, in octets.
const maxLine = 1 << 20

// ReadLines reads flows as `probe flows` writes them, a JSON object a line. Hosts of
// two captures are different ones, whatever their addresses.
func (s Source) ReadLines(r io.Reader) ([]Labelled, error) {
	var list []Labelled
	scan := bufio.NewScanner(r)
	scan.Buffer(make([]byte, 64<<10), maxLine)
	for n := 1; scan.Scan(); n++ {
		var l struct {
			Flow
			File      string `json:"file"`
			Interface string `json:"interface"`
			Segment   uint32 `json:"segment"`
			ID        uint64 `json:"flow_id"`
			Community string `json:"community_id"`
		}
		if err := json.Unmarshal(scan.Bytes(), &l); err != nil {
			return nil, fmt.Errorf("read flows: line %d: %w", n, err)
		}
		if l.Segment != 0 || !l.Usable() {
			continue
		}
		where := cmp.Or(l.File, l.Interface)
		list = append(list, Labelled{l.Flow, s.class(l.Community, &l.Flow), where + " " + l.Host, fmt.Sprintf("%s %d", where, l.ID)})
	}
	if err := scan.Err(); err != nil {
		return nil, fmt.Errorf("read flows: %w", err)
	}
	return list, nil
}
