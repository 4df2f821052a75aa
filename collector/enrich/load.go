package enrich

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/tapwatch/tapwatch/proto/kit"
)

// source is a file or feed, and what was read of it last.
type source struct {
	kind     string // database, networks, oui, threats, workloads
	name     string
	settings string // what else decides what becomes of it
	reader   *reader
	parse    func([]document) (content any, entries, refused int, err error)

	content any
	sum     uint64 // of the octets and settings; 0: nothing was read yet
	polled  time.Time
	said    string // last error
}

// sourcesOf lists what is configured. An error is a wrong TLS setting.
func sourcesOf(cfg Config) (list []*source, err error) {
	add := func(kind, name, location, settings string, limit int64, access Access, parse func([]document) (any, int, int, error)) {
		r, readerErr := newReader(location, limit, access)
		if readerErr != nil {
			err = errors.Join(err, fmt.Errorf("enrich %s %s: %w", kind, name, readerErr))
			return
		}
		list = append(list, &source{kind: kind, name: name, settings: settings, reader: r, parse: parse})
	}
	for _, path := range cfg.Databases {
		add("database", filepath.Base(path), path, "", maxDatabase, Access{}, func(docs []document) (any, int, int, error) {
			d, err := openDatabase(docs[0].data)
			if err != nil {
				return nil, 0, 0, err
			}
			return d, d.records, 0, nil
		})
	}
	for _, path := range cfg.Networks {
		add("networks", filepath.Base(path), path, "", maxFile, Access{}, func(docs []document) (any, int, int, error) {
			n, err := parseNetworks(docs[0])
			return n, len(n), 0, err
		})
	}
	for _, path := range cfg.OUI {
		add("oui", filepath.Base(path), path, "", maxFile, Access{}, func(docs []document) (any, int, int, error) {
			v, refused, err := parseVendors(docs[0])
			return v, len(v), refused, err
		})
	}
	for _, l := range cfg.Threats {
		settings := fmt.Sprint(l.Name, "|", l.Format, "|", l.Confidence, "|", l.MinConfidence)
		add("threats", l.Name, l.Location, settings, maxFile, l.Access, func(docs []document) (any, int, int, error) {
			p := &parsed{most: cfg.MaxIndicators, min: uint8(l.MinConfidence), standard: uint8(l.Confidence)}
			err := parseThreats(docs, l.Format, p)
			return listed{l.Name, p.indicators}, len(p.indicators), p.refused, err
		})
	}
	for _, f := range cfg.Workloads {
		add("workloads", f.Name, f.Location, f.Name, maxFeed, f.Access, func(docs []document) (any, int, int, error) {
			w, refused, err := parseWorkloads(docs[0].data)
			return w, len(w), refused, err
		})
	}
	return list, err
}

// Reload looks whether anything has changed, reads that, and puts the new data
// in force at once, all together.
func (e *Enricher) Reload(ctx context.Context) {
	changed := false
	for _, s := range e.sources {
		if ctx.Err() != nil {
			return
		}
		changed = e.refresh(ctx, s) || changed
	}
	now := e.now()
	old := e.data.Load()
	if changed || old.expires != 0 && now.Unix() >= old.expires {
		next, refused := newSnapshot(e.sources, now, e.cfg.MaxIndicators)
		if refused > 0 {
			e.metrics.refused.Add(float64(refused))
			e.log.Warn("threat lists have more indicators than are allowed", "refused", refused, "hint", "raise enrich.max_indicators")
		}
		e.data.Store(next)
		if next.version != old.version {
			e.log.Info("enrichment data", "version", fmt.Sprintf("%016x", next.version), "databases", len(next.databases),
				"networks", next.networks.size, "indicators", next.threats.size)
		}
	} else {
		e.data.Store(old.polled(e.sources))
	}
	select {
	case <-e.first:
	default:
		close(e.first)
	}
}

// refresh reads a source if it has changed, and tells whether it has new content.
func (e *Enricher) refresh(ctx context.Context, s *source) bool {
	docs, err := s.reader.read(ctx)
	now := e.now()
	if errors.Is(err, errSame) {
		if s.said == "" {
			s.polled = now
		}
		return false
	}
	var sum uint64
	if err == nil {
		if sum = sumOf(s.settings, docs); sum == s.sum {
			e.healed(s, now)
			return false
		}
		var content any
		var entries, refused int
		if content, entries, refused, err = s.parsed(docs); err == nil {
			s.content, s.sum = content, sum
			e.healed(s, now)
			e.metrics.loads.WithLabelValues(s.kind, "ok").Inc()
			e.metrics.refused.Add(float64(refused))
			e.metrics.entries.WithLabelValues(s.kind, s.name).Set(float64(entries))
			e.log.Info("read enrichment source", "kind", s.kind, "source", s.name, "entries", entries, "refused", refused)
			return true
		}
		if isURL(s.reader.location) {
			s.reader.forget()
		}
	}
	if ctx.Err() != nil {
		return false
	}
	e.metrics.broken.WithLabelValues(s.kind, s.name).Set(1)
	if err.Error() != s.said {
		s.said = err.Error()
		e.metrics.loads.WithLabelValues(s.kind, "error").Inc()
		have := "nothing is known of it"
		if s.sum != 0 {
			have = "what was read before stays in force"
		}
		args := []any{"kind", s.kind, "source", s.name, "cause", err, "state", have}
		if hint := kit.HintOf(err); hint != "" {
			args = append(args, "hint", hint)
		}
		e.log.Warn("cannot read enrichment source", args...)
	}
	return false
}

func (e *Enricher) healed(s *source, now time.Time) {
	s.said, s.polled = "", now
	e.metrics.broken.WithLabelValues(s.kind, s.name).Set(0)
}

// parsed is parse that survives what a library makes of a broken file.
func (s *source) parsed(docs []document) (content any, entries, refused int, err error) {
	defer recoverError(&err)
	return s.parse(docs)
}

func sumOf(settings string, docs []document) uint64 {
	h := xxhash.New()
	_, _ = h.WriteString(settings)
	for _, d := range docs {
		_, _ = h.WriteString("\x00" + filepath.Base(d.name) + "\x00")
		_, _ = h.Write(d.data)
	}
	return max(h.Sum64(), 1)
}

// snapshot is the data in force. It is never changed.
type snapshot struct {
	version   uint64 // of what decides the columns of flows; 0 there is none
	databases []*database
	networks  *networkTable
	threats   *threatIndex
	expires   int64 // Unix time of the next indicator to expire; 0 none

	lists   []listed
	nets    []network
	vendors []vendor
	feeds   []feed
	sums    map[string]uint64 // by kind; absent: nothing was read of it
}

// feed is the workloads of a source.
type feed struct {
	name   string
	list   []workload
	polled time.Time // when this was known to be all
}

// newSnapshot puts what has been read together.
func newSnapshot(sources []*source, now time.Time, maxIndicators int) (d *snapshot, refused int) {
	d = &snapshot{sums: map[string]uint64{}}
	whole := xxhash.New()
	for _, s := range sources {
		if s.sum == 0 {
			continue
		}
		d.sums[s.kind] = max(1, d.sums[s.kind]*0x100000001b3+s.sum)
		switch c := s.content.(type) {
		case *database:
			d.databases = append(d.databases, c)
		case []network:
			d.nets = append(d.nets, c...)
		case []vendor:
			d.vendors = append(d.vendors, c...)
		case listed:
			d.lists = append(d.lists, c)
			for i := range c.indicators {
				if x := int64(c.indicators[i].expires); x > now.Unix() && (d.expires == 0 || x < d.expires) {
					d.expires = x
				}
			}
		case []workload:
			d.feeds = append(d.feeds, feed{s.name, c, s.polled})
		}
		if k := s.kind; k == "database" || k == "networks" || k == "threats" {
			fmt.Fprintf(whole, "%s %016x\n", k, s.sum)
		}
	}
	d.networks = newNetworkTable(d.nets)
	d.threats, refused = newThreatIndex(d.lists, now.Unix(), maxIndicators)
	if len(d.databases)+len(d.nets)+len(d.lists) > 0 {
		d.version = max(whole.Sum64(), 1)
	}
	return d, refused
}

// polled is the same data with the times when the feeds were last read.
func (d *snapshot) polled(sources []*source) *snapshot {
	if len(d.feeds) == 0 {
		return d
	}
	next := *d
	next.feeds = make([]feed, 0, len(d.feeds))
	for _, f := range d.feeds {
		for _, s := range sources {
			if s.kind == "workloads" && s.name == f.name && s.said == "" {
				f.polled = s.polled
			}
		}
		next.feeds = append(next.feeds, f)
	}
	return &next
}
