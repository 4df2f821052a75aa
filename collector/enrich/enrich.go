// Package enrich adds to flows what is known besides what the probe saw: where
// an address belongs (autonomous system, country, city, own network and its
// role), and which threat lists a flow is on. It also keeps what else is known in
// tables of its own: networks, vendors of network cards, indicators, workloads,
// and, taken from the flows themselves, the names of hosts and who was logged in.
//
// In come files and feeds that the operator names, and blocks of records; out go
// columns for the same insert, and rows of the tables. Everything is best
// effort: what is missing, broken or late leaves a column empty and a counter
// counted, never a flow behind, and can be made up for afterwards (see Again).
//
// The data at hand is one snapshot that is never changed, only replaced: a file
// that changes is read again within Config.Reload, and one that cannot be read
// leaves what was read before in force.
package enrich

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tapwatch/tapwatch/collector/store"
	"github.com/tapwatch/tapwatch/proto/flow"
	"github.com/tapwatch/tapwatch/proto/kit"
	"github.com/tapwatch/tapwatch/proto/kit/config"
	"github.com/tapwatch/tapwatch/proto/kit/ops"
)

// Config says what is to be known, and from where. Nothing is set by default
// but the intervals.
type Config struct {
	Databases     []string      `conf:"databases" help:"files in MaxMind's format (.mmdb) with autonomous systems, countries or cities"`
	Networks      []string      `conf:"networks" help:"CSV or YAML files of the own networks: network, name, role, site"`
	OUI           []string      `conf:"oui" help:"vendors of network cards: IEEE's oui.csv, mam.csv, oui36.csv, or Wireshark's manuf"`
	Threats       []ThreatList  `conf:"threats" help:"threat lists"`
	Workloads     []Feed        `conf:"workloads" help:"names of pods, containers and virtual machines"`
	Reload        time.Duration `conf:"reload" help:"between two looks whether a file or feed has changed"`
	MaxTime       time.Duration `conf:"max_time" help:"for the rows of one insert; what is not done by then is stored without"`
	MaxIndicators int           `conf:"max_indicators" help:"of all threat lists together; what is above is refused, and counted"`
	Interval      time.Duration `conf:"interval" help:"between two looks at new flows for hosts and users; 0: this collector does not look"`
}

// ThreatList is one list of indicators.
type ThreatList struct {
	Name          string `conf:"name" help:"what flows.threats shows"`
	Location      string `conf:"location" help:"path, directory of a MISP feed, or http(s) URL"`
	Format        string `conf:"format" help:"plain, csv, stix or misp; empty: told by the content"`
	Confidence    int    `conf:"confidence" help:"of indicators that say none, 1 to 100"`
	MinConfidence int    `conf:"min_confidence" help:"indicators below are left out"`
	Access        Access `conf:"access"`
}

// Feed is one source of workloads.
type Feed struct {
	Name     string `conf:"name" help:"tells feeds apart in the table workloads"`
	Location string `conf:"location" help:"path or http(s) URL of CSV or JSON: ip, name, kind, namespace, node, from, to"`
	Access   Access `conf:"access"`
}

// Access is how a URL is asked.
type Access struct {
	Token config.Secret `conf:"token" help:"sent as Authorization: Bearer"`
	TLS   kit.TLS       `conf:"tls"`
}

// DefaultConfig knows nothing, and looks at new flows for hosts and users.
func DefaultConfig() Config {
	return Config{Reload: 10 * time.Second, MaxTime: 500 * time.Millisecond, MaxIndicators: 2_000_000, Interval: 30 * time.Second}
}

// Check says what is wrong with a Config. A file that does not exist is not
// wrong: it may come.
func Check(cfg Config) error {
	var errs []error
	wrong := func(key, hint string) {
		errs = append(errs, kit.Hint(fmt.Errorf("enrich.%s: out of range", key), hint))
	}
	if cfg.Reload < 100*time.Millisecond {
		wrong("reload", "100ms or more")
	}
	if cfg.MaxTime <= 0 {
		wrong("max_time", "more than 0")
	}
	if cfg.MaxIndicators < 0 {
		wrong("max_indicators", "0 or more")
	}
	if cfg.Interval < 0 {
		wrong("interval", "0 or more")
	}
	var lists, feeds []string
	for i, l := range cfg.Threats {
		key := fmt.Sprintf("threats[%d]", i)
		switch {
		case l.Name == "" || len(l.Name) > 64 || slices.Contains(lists, l.Name):
			wrong(key+".name", "a name of its own, of at most 64 octets")
		case l.Location == "":
			wrong(key+".location", "a path or a URL")
		case !slices.Contains([]string{"", "plain", "csv", "stix", "misp"}, l.Format):
			wrong(key+".format", "plain, csv, stix or misp")
		case l.Confidence < 0 || l.Confidence > 100 || l.MinConfidence < 0 || l.MinConfidence > 100:
			wrong(key+".confidence", "0 to 100")
		}
		lists = append(lists, l.Name)
		errs = append(errs, l.Access.check(key, l.Location))
	}
	for i, f := range cfg.Workloads {
		key := fmt.Sprintf("workloads[%d]", i)
		if f.Name == "" || slices.Contains(feeds, f.Name) {
			wrong(key+".name", "a name of its own")
		}
		if f.Location == "" {
			wrong(key+".location", "a path or a URL")
		}
		feeds = append(feeds, f.Name)
		errs = append(errs, f.Access.check(key, f.Location))
	}
	return errors.Join(errs...)
}

func (a Access) check(key, location string) error {
	if !isURL(location) && (a.Token != "" || a.TLS.Enabled) {
		return kit.Hint(fmt.Errorf("enrich.%s.access: %s is a file", key, location), "a token and TLS are for URLs")
	}
	return nil
}

// Enricher holds the data. It may be used by several goroutines at once, except
// for Run and Reload.
type Enricher struct {
	cfg     Config
	log     *slog.Logger
	metrics *metrics
	sources []*source
	first   chan struct{} // closed when everything has been tried once
	data    atomic.Pointer[snapshot]
	scratch sync.Pool
	at      columnsAt
	now     func() time.Time
}

// New returns an Enricher that has read nothing yet: see Run and Loaded.
func New(cfg Config, o *ops.Ops) (*Enricher, error) {
	e := &Enricher{cfg: cfg, log: o.Log, metrics: newMetrics(o.Registry), first: make(chan struct{}), at: findColumns(), now: time.Now}
	e.scratch.New = func() any { return new(scratch) }
	e.data.Store(&snapshot{})
	var err error
	e.sources, err = sourcesOf(cfg)
	return e, err
}

// Run reads what is configured, and what changes of it, until ctx ends.
func (e *Enricher) Run(ctx context.Context) {
	for {
		e.Reload(ctx)
		t := time.NewTimer(e.cfg.Reload)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		}
	}
}

// firstLoad is how long flows wait for what is known about them, once.
const firstLoad = 10 * time.Second

// Loaded waits until Run has tried every source once, at most ten seconds.
func (e *Enricher) Loaded(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, firstLoad)
	defer cancel()
	select {
	case <-e.first:
	case <-ctx.Done():
	}
}

// ForFlows is e, or nil where nothing is configured that flows are enriched with:
// then they need not be looked at.
func (e *Enricher) ForFlows() store.Enricher {
	if len(e.cfg.Databases)+len(e.cfg.Networks)+len(e.cfg.Threats) == 0 {
		return nil
	}
	return e
}

// Version names the data in force: the same data, the same number, whoever has
// read it. 0: there is none.
func (e *Enricher) Version() uint64 { return e.data.Load().version }

// Columns are those of `flows` that Values fills.
func (e *Enricher) Columns() []string {
	return []string{"enrichment", "src_asn", "dst_asn", "src_country", "dst_country", "src_city", "dst_city",
		"src_network", "dst_network", "src_role", "dst_role", "threats"}
}

// columnsAt is where Block.Values has what is looked at.
type columnsAt struct {
	srcIP, dstIP, sni, host, dns, ja3, ja4, hassh, hasshServer, cert int
}

func findColumns() columnsAt {
	at := func(name string) int { return slices.Index(flow.ColumnNames(), name) }
	return columnsAt{at("src_ip"), at("dst_ip"), at("tls_sni"), at("http_host"), at("dns_names"), at("ja3"), at("ja4"), at("hassh"),
		at("hassh_server"), at("tls_cert_sha256")}
}
