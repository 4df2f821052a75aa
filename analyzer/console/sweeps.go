package console

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/tapwatch/tapwatch/analyzer/retro"
)

// maxListBody is how long a list of indicators may be that is sent here, in octets.
const maxListBody = 4 << 20

// SweepStatus is one search for indicators through all history.
type SweepStatus struct {
	ID         string   `json:"id"`
	Source     string   `json:"source" doc:"indicators: what threat lists brought; file:NAME: a list that somebody gave"`
	Who        string   `json:"who" doc:"asked for it, empty: nobody, it was new"`
	Lists      []string `json:"lists"`
	Indicators uint64   `json:"indicators"`
	State      string   `json:"state" enum:"asked,running,done,failed"`
	Error      string   `json:"error"`
	Parts      uint32   `json:"parts" doc:"pieces of history"`
	PartsDone  uint32   `json:"parts_done"`
	Hits       uint64   `json:"hits"`
	Hosts      uint64   `json:"hosts" doc:"that had contact"`
	Began      string   `json:"began" doc:"wall clock: what is received later is matched as it is stored"`
	TookMS     int64    `json:"took_ms"`
}

// Sweeps is a list of them.
type Sweeps struct {
	Sweeps []SweepStatus `json:"sweeps" doc:"newest first, at most 100"`
}

func tellSweep(w retro.Sweep) SweepStatus {
	if w.Lists == nil {
		w.Lists = []string{}
	}
	return SweepStatus{w.ID, w.Source, w.Who, w.Lists, w.Indicators, w.State, w.Error, w.Parts, w.PartsDone, w.Hits, w.Hosts, rfc3339(w.Began), w.Took.Milliseconds()}
}

func (c *Console) sweeps(ctx context.Context, _ *struct{}) (*answer[Sweeps], error) {
	list, err := c.stores.sweeps.Sweeps(ctx, 100)
	if err != nil {
		return nil, err
	}
	out := Sweeps{Sweeps: []SweepStatus{}}
	for _, w := range list {
		out.Sweeps = append(out.Sweeps, tellSweep(w))
	}
	return &answer[Sweeps]{out}, nil
}

// SweepDay is what a sweep can say of one day of traffic.
type SweepDay struct {
	Day         string   `json:"day" doc:"UTC; empty: tables that are not by day"`
	Tables      []string `json:"tables" doc:"looked through"`
	FlowRows    uint64   `json:"flow_rows" doc:"stored when the sweep began"`
	RollupRows  uint64   `json:"rollup_rows" doc:"rows of flows that the rollups are made of"`
	Promised    uint64   `json:"promised_rows" doc:"rows of flows that batches tell of"`
	SeenPackets uint64   `json:"seen_packets"`
	FlowPackets uint64   `json:"flow_packets"`
	Dropped     bool     `json:"dropped" doc:"retention has dropped flows of the day"`
	Verdict     string   `json:"verdict" enum:"complete,partial,addresses,lost"`
}

// Hit is what a host had to do with an indicator.
type Hit struct {
	List     string   `json:"list"`
	Kind     string   `json:"kind"`
	Value    string   `json:"value" doc:"of the indicator"`
	Field    string   `json:"field" doc:"where it is: src_ip, dst_ip, tls_sni, http_host, dns_names, ja3, ja4, hassh, hassh_server or tls_cert_sha256"`
	Seen     string   `json:"seen" doc:"as it is in the traffic"`
	Host     string   `json:"host" doc:"empty: not stored any more"`
	First    string   `json:"first"`
	Last     string   `json:"last"`
	Flows    uint64   `json:"flows" doc:"connections"`
	Answered uint64   `json:"answered"`
	Bytes    uint64   `json:"bytes" doc:"IP octets, both directions"`
	Ports    []uint16 `json:"ports"`
	Tables   []string `json:"tables" doc:"it is known from; of rollups, times are those of the hour or day"`
}

func tellHits(hits []retro.Hit) []Hit {
	list := make([]Hit, 0, len(hits))
	for _, h := range hits {
		list = append(list, Hit{h.List, h.Kind, h.Value, h.Field, h.Seen, h.Host, rfc3339(h.First), rfc3339(h.Last), h.Flows, h.Answered, h.Bytes, h.Ports, h.Tables})
	}
	return list
}

// OneSweep is a sweep with its statement of coverage and its hits.
type OneSweep struct {
	Sweep    SweepStatus    `json:"sweep"`
	Coverage string         `json:"coverage" doc:"what was looked through, in a sentence"`
	Verdicts map[string]int `json:"verdicts" doc:"days of each verdict"`
	Share    *float64       `json:"share" doc:"of the packets seen, those in what was looked through; null: not known"`
	Days     []SweepDay     `json:"days"`
	Hits     []Hit          `json:"hits" doc:"earliest contact first"`
	More     bool           `json:"more" doc:"there are more hits than these"`
}

type sweepInput struct {
	ID    string `path:"id" maxLength:"64"`
	Limit int    `query:"limit" minimum:"1" maximum:"10000" default:"500" doc:"hits that are told at most"`
}

func (c *Console) sweep(ctx context.Context, in *sweepInput) (*answer[OneSweep], error) {
	w, err := c.stores.sweeps.Get(ctx, in.ID)
	if errors.Is(err, retro.ErrUnknown) {
		return nil, huma.Error404NotFound("no sweep has the id " + layoutSafe(in.ID))
	}
	if err != nil {
		return nil, err
	}
	cover, err := c.stores.sweeps.Coverage(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	hits, err := c.stores.sweeps.Hits(ctx, in.ID, "", in.Limit+1)
	if err != nil {
		return nil, err
	}
	out := OneSweep{Sweep: tellSweep(w), Coverage: cover.Text(), Verdicts: cover.Verdicts, Share: number(cover.Share), Days: []SweepDay{}, More: len(hits) > in.Limit}
	out.Hits = tellHits(hits[:min(in.Limit, len(hits))])
	for _, d := range cover.Days {
		day := ""
		if !d.Day.IsZero() {
			day = d.Day.Format("2006-01-02")
		}
		out.Days = append(out.Days, SweepDay{day, d.Tables, d.FlowRows, d.RollupRows, d.Promised, d.SeenPackets, d.FlowPackets, d.Dropped, d.Verdict})
	}
	return &answer[OneSweep]{out}, nil
}

type sweepRequest struct {
	Body struct {
		Name string `json:"name" minLength:"1" maxLength:"100" doc:"what the list is called"`
		List string `json:"list" maxLength:"4000000" doc:"indicators: one a line, CSV, STIX 2.1 or MISP"`
	}
}

func (c *Console) addSweep(ctx context.Context, in *sweepRequest) (*answer[SweepStatus], error) {
	list, refused, err := retro.Parse(strings.NewReader(in.Body.List))
	if err != nil {
		return nil, badRequest("list: %s", err)
	}
	if len(list) == 0 {
		return nil, badRequest("list: nothing in it is an indicator (%d entries were not understood)", refused)
	}
	if err := c.done(ctx, "sweep.ask", in.Body.Name, map[string]int{"indicators": len(list), "refused": refused}); err != nil {
		return nil, err
	}
	w, err := c.stores.sweeper.Ask(ctx, in.Body.Name, whoIs(ctx).name, list)
	if err != nil {
		return nil, err
	}
	return &answer[SweepStatus]{tellSweep(w)}, nil
}

func (c *Console) sweepRoutes(api huma.API) {
	register(c, api, "list-sweeps", "/api/v1/sweeps", "Sweeps of history", "Indicators that were new, looked for in all that is stored.", c.sweeps)
	register(c, api, "get-sweep", "/api/v1/sweeps/{id}", "One sweep", "What was found, and what was looked through: which tables, which days, how complete.", c.sweep)
	operate(c, api, Analyst, http.MethodPost, "add-sweep", "/api/v1/sweeps", "Sweep history for a list", "The list is looked for by the analyzer that works, within seconds of its turn.", c.addSweep)
}
