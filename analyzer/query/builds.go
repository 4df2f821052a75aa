package query

import (
	"context"
	_ "embed"
	"fmt"
	"sync"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// rollup is a table that can stand for flows. The view holds the newest build of
// each bucket; the condition on the bucket of its table is what makes it cheap.
type rollup struct {
	name   string // of the view, and in rollup_builds
	time   string // column
	length int64  // seconds that a row stands for
	bucket int64  // seconds that a build stands for
}

// rollups are the tables a planner tries, the coarsest first.
var rollups = []rollup{{"flows_1d", "day", day, day}, {"flows_1h", "hour", hour, hour}, {"flows_1m", "minute", minute, hour}}

const (
	minute = int64(60)
	hour   = 60 * minute
	day    = 24 * hour
)

// catalog says which builds hold every raw flow of their bucket. It compares
// counts of rows, of the raw table itself: what is promised does not matter,
// only what is there.
type catalog struct {
	from, to int64 // Unix seconds, whole days
	read     time.Time
	days     map[int64]uint64            // raw flows, by begin of the day
	hours    map[int64]uint64            // the same by hour, of the days in counted
	counted  map[int64]bool              // days
	built    map[string]map[int64]uint64 // raw rows of the newest build, by rollup and bucket
	settled  time.Time                   // live probes have told all up to here; zero: none is live
}

// state of a bucket of a rollup.
type state uint8

const (
	behind state = iota // there is no build, or it lacks flows
	clean               // it holds all flows of the bucket
	sealed              // it holds more than raw has left
	empty               // neither has anything
)

func (c *catalog) state(r rollup, at int64) state {
	bucket, d := at-at%r.bucket, at-at%day
	built, ok := c.built[r.name][bucket]
	have := c.days[d]
	switch {
	case have == 0 && ok:
		return sealed
	case have == 0:
		return empty
	case r.bucket == hour && !c.counted[d]:
		switch { // see doubtful: all of the day's builds hold all, or there are none
		case ok:
			return clean
		case c.sum(r, d) == 0:
			return behind
		}
		return empty
	case r.bucket == hour:
		have = c.hours[bucket]
	}
	switch {
	case !ok && have == 0:
		return empty
	case !ok || built < have:
		return behind
	case built > have:
		return sealed
	}
	return clean
}

// sum is the rows of a day that are in the builds of its hours.
func (c *catalog) sum(r rollup, d int64) uint64 {
	var n uint64
	for h := d; h < d+day; h += hour {
		n += c.built[r.name][h]
	}
	return n
}

//go:embed sql/builds.sql
var buildsSQL string

//go:embed sql/raw_days.sql
var rawDaysSQL string

//go:embed sql/provisional.sql
var provisionalSQL string

//go:embed sql/raw_hours.sql
var rawHoursSQL string

// catalogs reads the catalog and keeps it for a moment: the parts of a page ask
// for the same range within one refresh.
type catalogs struct {
	ask  *Asker
	mu   sync.Mutex
	last *catalog
}

const catalogFor = 2 * time.Second

func (k *catalogs) get(ctx context.Context, span Span) (*catalog, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	from := span.From.Unix() / day * day
	to := (span.To.Unix()/day + 1) * day
	if c := k.last; c != nil && c.from <= from && c.to >= to && time.Since(c.read) < catalogFor {
		return c, nil
	}
	c := &catalog{from: from, to: to, read: time.Now(), days: map[int64]uint64{}, hours: map[int64]uint64{}, counted: map[int64]bool{}, built: map[string]map[int64]uint64{}}
	if err := k.read(ctx, c); err != nil {
		return nil, fmt.Errorf("read the builds of the rollups: %w", err)
	}
	var ns int64
	if err := k.ask.One(ctx, System, Statement{SQL: provisionalSQL}, &ns); err != nil {
		return nil, fmt.Errorf("read how far the probes are: %w", err)
	}
	if ns != 0 {
		c.settled = time.Unix(0, ns).UTC()
	}
	k.last = c
	return c, nil
}

func (k *catalogs) read(ctx context.Context, c *catalog) error {
	between := Params{"from": time.Unix(c.from, 0).UTC().Format(time.DateTime), "to": time.Unix(c.to, 0).UTC().Format(time.DateTime)}
	err := k.ask.Each(ctx, System, Statement{buildsSQL, between}, func(rows driver.Rows) error {
		var name string
		var bucket int64
		var n uint64
		err := rows.Scan(&name, &bucket, &n)
		if c.built[name] == nil {
			c.built[name] = map[int64]uint64{}
		}
		c.built[name][bucket] = n
		return err
	})
	if err != nil {
		return err
	}
	err = k.ask.Each(ctx, System, Statement{SQL: rawDaysSQL}, func(rows driver.Rows) error {
		var yyyymmdd uint32
		var n uint64
		if err := rows.Scan(&yyyymmdd, &n); err != nil {
			return err
		}
		d := time.Date(int(yyyymmdd/10000), time.Month(yyyymmdd/100%100), int(yyyymmdd%100), 0, 0, 0, 0, time.UTC).Unix()
		c.days[d] = n
		return nil
	})
	if err != nil {
		return err
	}
	days := Array{}
	for d := c.from; d < c.to; d += day {
		if c.doubtful(d) {
			c.counted[d] = true
			days.add(time.Unix(d, 0).UTC().Format("20060102"))
		}
	}
	if len(days) == 0 {
		return nil
	}
	return k.ask.Each(ctx, System, Statement{rawHoursSQL, Params{"days": days.String()}}, func(rows driver.Rows) error {
		var at int64
		var n uint64
		err := rows.Scan(&at, &n)
		c.hours[at] = n
		return err
	})
}

// doubtful: the hours of the day have to be counted one by one, as the builds
// of a rollup are made of some of its rows but not of as many as it has.
func (c *catalog) doubtful(d int64) bool {
	for _, r := range rollups {
		if r.bucket != hour {
			continue
		}
		if n := c.sum(r, d); c.days[d] > 0 && n > 0 && n != c.days[d] {
			return true
		}
	}
	return false
}

// most is how many rows the parts can have at most: those of their days. No
// table has more rows than raw had flows.
func (c *catalog) most(parts []Part) uint64 {
	days := map[int64]uint64{}
	for _, p := range parts {
		for d := p.From.Unix() / day * day; d < p.To.Unix(); d += day {
			days[d] = c.days[d]
			for _, r := range rollups {
				built := c.built[r.name][d]
				if r.bucket == hour {
					built = c.sum(r, d)
				}
				days[d] = max(days[d], built)
			}
		}
	}
	var n uint64
	for _, rows := range days {
		n += rows
	}
	return n
}

// Array writes numbers as an Array parameter.
type Array []string

func (a *Array) add(s string) { *a = append(*a, s) }

func (a Array) String() string {
	s := "["
	for i, x := range a {
		if i > 0 {
			s += ","
		}
		s += x
	}
	return s + "]"
}
