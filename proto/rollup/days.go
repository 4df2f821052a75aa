package rollup

import (
	"context"
	_ "embed"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

//go:embed days.sql
var daysSQL string

// dayState is what is known of a day that differs from its hours.
type dayState struct {
	hours, entry entry // of the hours: the greatest build, the sum of rows, the least cover
}

// dirty says whether the day is not made of the newest builds of its hours.
func (s dayState) dirty() bool {
	return s.hours.build > s.entry.build || s.hours.rows != s.entry.rows
}

// buildDays builds the days whose hours have been built since, and has those
// count as closed whose hours all are.
func (b *Builder) buildDays(ctx context.Context) error {
	now := time.Now()
	var list []int64
	for at, r := range b.days {
		if !now.Before(r.notBefore) {
			list = append(list, at)
		}
	}
	if len(list) == 0 && !b.allDays {
		return nil
	}
	states := map[int64]dayState{}
	err := b.rows(ctx, "look for dirty days", daysSQL, func(rows driver.Rows) error {
		var at uint32
		var s dayState
		if err := rows.Scan(&at, &s.hours.build, &s.hours.rows, &s.hours.cover, &s.entry.build, &s.entry.rows, &s.entry.cover); err != nil {
			return err
		}
		states[int64(at)] = s
		return nil
	}, clickhouse.Named("days", append(unix32(list), 0)), clickhouse.Named("all", b.allDays))
	if err != nil {
		return err
	}
	b.allDays = false
	dirty := 0
	for _, s := range states {
		if s.dirty() {
			dirty++
		}
	}
	b.metrics.dirty.WithLabelValues(daily().name).Set(float64(dirty))
	for at := range states {
		if b.days[at] == nil {
			b.days[at] = new(rest)
		}
	}
	for _, at := range list {
		if _, dirty := states[at]; !dirty && b.today(at) {
			delete(b.days, at)
		}
	}
	for at, s := range states {
		if now.Before(b.days[at].notBefore) {
			continue
		}
		if err := b.buildDay(ctx, at, s); err != nil {
			return err
		}
	}
	return nil
}

// today says whether no hour of the day is remembered as provisional.
func (b *Builder) today(at int64) bool {
	for bucket, k := range b.buckets {
		if bucket-bucket%day == at && k.cover == 0 {
			return false
		}
	}
	return true
}

// buildDay makes a build of a day from the newest builds of its hours.
func (b *Builder) buildDay(ctx context.Context, at int64, s dayState) error {
	began, number, e := time.Now(), b.number(), s.entry
	if s.dirty() {
		list := []int64{at}
		if err := b.exec(ctx, "build flows_1d", fill(daily().sql, "/*hours*/", newestHours), clickhouse.Named("build", number),
			clickhouse.Named("days", unix32(list)), clickhouse.Named("from", at), clickhouse.Named("to", at+day)); err != nil {
			return err
		}
		if e.build != 0 {
			b.replaced = append(b.replaced, build{daily().name, at, e.build, time.Now()})
		}
		e.build, e.rows = number, s.hours.rows
	}
	e.cover = 0
	if s.hours.cover > 0 {
		open, err := b.open(ctx)
		if err != nil {
			return err
		}
		if !open(at, at+day) {
			e.cover = e.build
		}
	}
	if e != s.entry {
		if err := b.publish(ctx, number, []published{{daily().name, at, e}}); err != nil {
			return err
		}
		b.metrics.seconds.WithLabelValues(daily().name).Observe(time.Since(began).Seconds())
	}
	b.days[at].after(time.Since(began), b.interval, false)
	return nil
}

// dayOf returns the newest build of the day of an hour; build 0: there is none.
func (b *Builder) dayOf(ctx context.Context, at int64) (e entry, err error) {
	err = b.rows(ctx, "look for the day", entriesSQL, func(rows driver.Rows) error {
		var name string
		var bucket uint32
		var found entry
		if err := rows.Scan(&name, &bucket, &found.build, &found.rows, &found.cover); err != nil {
			return err
		}
		if name == daily().name {
			e = found
		}
		return nil
	}, clickhouse.Named("buckets", unix32([]int64{at - at%day})))
	return e, err
}
