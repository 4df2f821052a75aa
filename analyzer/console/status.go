package console

import (
	"context"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/danielgtaylor/huma/v2"
)

// Status is how the installation is doing now.
type Status struct {
	Range        Range             `json:"range" doc:"of all traffic that is stored; empty: none yet"`
	Completeness Completeness      `json:"completeness" doc:"of that range"`
	Now          string            `json:"now" doc:"wall clock of the console"`
	Versions     map[string]string `json:"versions" doc:"of tapwatch, go and clickhouse"`
	Probes       []ProbeStatus     `json:"probes"`
	Detectors    []DetectorStatus  `json:"detectors"`
}

// ProbeStatus is the newest epoch of a probe.
type ProbeStatus struct {
	Probe         string   `json:"probe"`
	Site          string   `json:"site"`
	State         string   `json:"state" enum:"live,silent,reading,ended" doc:"live: heard of within 90 s; silent: was live and did not say that it ends; reading: a file; ended: said so"`
	Live          bool     `json:"live" doc:"its traffic time is the wall clock"`
	Workers       uint64   `json:"workers"`
	Received      string   `json:"received" doc:"wall clock at which Kafka got its last batch"`
	Clock         string   `json:"clock" doc:"newest traffic time it told"`
	Watermark     string   `json:"watermark" doc:"all of its flows that began before this are published"`
	LagS          *float64 `json:"lag_s" doc:"seconds from its watermark to now; null for files"`
	OpenFlows     uint64   `json:"open_flows" doc:"in its tables when it last told"`
	SchemaVersion uint16   `json:"schema_version"`
}

// DetectorStatus is what a detector did last.
type DetectorStatus struct {
	Detector
	Windows       uint64 `json:"windows" doc:"windows it has judged"`
	LastWindow    Range  `json:"last_window" doc:"newest window it has judged, by traffic time"`
	LastRun       string `json:"last_run" doc:"wall clock"`
	Provisional   uint64 `json:"provisional" doc:"windows that were open when it judged them"`
	Failed        uint64 `json:"failed" doc:"windows whose last run failed"`
	LastError     string `json:"last_error"`
	Alerts        uint64 `json:"alerts" doc:"alerts stored"`
	TookMSAverage uint64 `json:"took_ms_average"`
	Note          string `json:"note" doc:"what keeps it from judging, as that it is still learning; empty: nothing"`
}

// silentAfter is when a live probe that says nothing is called silent: probes
// send a header each second, idle or not.
const silentAfter = 90 * time.Second

func (d *database) probes(ctx context.Context, now time.Time) ([]ProbeStatus, error) {
	list := []ProbeStatus{}
	err := d.each(ctx, `SELECT probe, argMax(site, began), argMax(live, began), argMax(workers, began), argMax(received, began), argMax(clock, began),
			argMax(watermark, began), argMax(ended, began), argMax(open, began), argMax(version, began)
		FROM (
			SELECT probe, any(site) AS site, epoch, min(began) AS began, max(live) AS live, count() AS workers, max(heard) AS received, max(clock) AS clock,
				min(watermark) AS watermark, min(ended) AS ended, sum(open) AS open, max(version) AS version
			FROM (
				SELECT probe, any(batches.site) AS site, epoch, worker, min(sealed) AS began, max(batches.live) AS live, max(batches.received) AS heard, max(batches.clock) AS clock,
					max(batches.watermark) AS watermark, max(end_of_stream) AS ended, argMax(open_flows, seq) AS open, max(schema_version) AS version
				FROM batches WHERE status IN ('stored', 'expired') GROUP BY probe, epoch, worker
			)
			GROUP BY probe, epoch
		)
		GROUP BY probe ORDER BY probe LIMIT 10000`, nil, func(rows driver.Rows) error {
		var p ProbeStatus
		var received, clock, watermark time.Time
		var ended bool
		if err := rows.Scan(&p.Probe, &p.Site, &p.Live, &p.Workers, &received, &clock, &watermark, &ended, &p.OpenFlows, &p.SchemaVersion); err != nil {
			return err
		}
		p.Received, p.Clock, p.Watermark = rfc3339(received), rfc3339(clock), rfc3339(watermark)
		switch {
		case ended:
			p.State = "ended"
		case !p.Live:
			p.State = "reading"
		case now.Sub(received) > silentAfter:
			p.State = "silent"
		default:
			p.State = "live"
		}
		if p.Live && !ended {
			lag := max(now.Sub(watermark).Seconds(), 0)
			p.LagS = &lag
		}
		list = append(list, p)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the state of the probes: %w", err)
	}
	return list, nil
}

func (c *Console) detectors(ctx context.Context) ([]DetectorStatus, error) {
	known := map[string]*DetectorStatus{}
	for _, d := range c.cfg.Detectors {
		if d.Techniques == nil {
			d.Techniques = []string{}
		}
		known[d.Name] = &DetectorStatus{Detector: d}
	}
	of := func(name string) *DetectorStatus {
		if known[name] == nil {
			known[name] = &DetectorStatus{Detector: Detector{Name: name, Techniques: []string{}}}
		}
		return known[name]
	}
	err := c.db.each(ctx, `SELECT detector, max(version), count(), argMax(window_start, window_end), max(window_end), max(job_runs.ran), countIf(NOT closed),
			countIf(error != ''), argMax(error, job_runs.ran), toUInt64(avg(took_ms))
		FROM job_runs FINAL GROUP BY detector`, nil, func(rows driver.Rows) error {
		var name, lastError string
		var version uint16
		var windows, open, failed, took uint64
		var start, end, ran time.Time
		if err := rows.Scan(&name, &version, &windows, &start, &end, &ran, &open, &failed, &lastError, &took); err != nil {
			return err
		}
		d := of(name)
		d.Version = max(d.Version, version)
		d.Windows, d.Provisional, d.Failed, d.LastError, d.TookMSAverage = windows, open, failed, lastError, took
		d.LastWindow, d.LastRun = Range{rfc3339(start), rfc3339(end)}, rfc3339(ran)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the runs of the detectors: %w", err)
	}
	err = c.db.each(ctx, `SELECT detector, count() FROM alerts FINAL GROUP BY detector`, nil, func(rows driver.Rows) error {
		var name string
		var n uint64
		err := rows.Scan(&name, &n)
		of(name).Alerts = n
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("count the alerts of the detectors: %w", err)
	}
	list := []DetectorStatus{}
	for _, d := range known {
		list = append(list, *d)
	}
	slices.SortFunc(list, func(a, b DetectorStatus) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

func (c *Console) status(ctx context.Context, _ *struct{}) (*answer[Status], error) {
	now := time.Now().UTC()
	r, err := c.db.stored(ctx)
	if err != nil {
		return nil, err
	}
	out := Status{Range: r.tell(), Now: rfc3339(now), Versions: map[string]string{"tapwatch": "unknown", "go": "unknown"}}
	if out.Completeness, err = c.db.completeness(ctx, r, ""); err != nil {
		return nil, err
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		out.Versions["tapwatch"], out.Versions["go"] = info.Main.Version, info.GoVersion
	}
	var version string
	if err := c.db.one(ctx, "SELECT version()", nil, &version); err != nil {
		return nil, err
	}
	out.Versions["clickhouse"] = version
	if out.Probes, err = c.db.probes(ctx, now); err != nil {
		return nil, err
	}
	if out.Detectors, err = c.detectors(ctx); err != nil {
		return nil, err
	}
	return &answer[Status]{out}, nil
}

// DetectorList is all detectors.
type DetectorList struct {
	Detectors []DetectorStatus `json:"detectors"`
}

func (c *Console) statusRoutes(api huma.API) {
	register(c, api, "status", "/api/v1/status", "State", "Probes, detectors and versions, now.", c.status)
	register(c, api, "list-detectors", "/api/v1/detectors", "Detectors", "What runs, and how far it has come.",
		func(ctx context.Context, _ *struct{}) (*answer[DetectorList], error) {
			list, err := c.detectors(ctx)
			return &answer[DetectorList]{DetectorList{list}}, err
		})
}
