package schedule

import (
	"context"
	"fmt"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// overlap is how far back new rows of batches are looked for: a row carries the
// time at which its collector began to write it, and may be seen later.
const overlap = 10 * time.Minute

// resync is how often everything is read again, in case a row was written later
// than overlap allows, or twice.
const resync = time.Hour

// identity names a row of batches.
type identity struct {
	probe, topic string
	epoch, seq   uint64
	worker       uint16
	partition    int32
	offset       int64
}

// minute is what was promised for a minute of flow starts.
type minute struct {
	rows   uint64
	stored time.Time // when the newest of its batches was stored
}

// source is a capture worker of a probe; an epoch is one life of it.
type source struct {
	probe  string
	worker uint16
}

type worker struct {
	epoch     uint64
	received  time.Time // of the newest batch, Kafka's clock
	watermark time.Time
	ended     bool
	heard     time.Time // wall clock
}

// progress is what batches say, kept up to date by reading only new rows.
type progress struct {
	conn    driver.Conn
	minutes map[int64]minute // by Unix time / 60
	workers map[source]worker
	seen    map[identity]time.Time // stored; the last overlap
	newest  time.Time              // stored
	synced  time.Time
}

func newProgress(conn driver.Conn) *progress { return &progress{conn: conn} }

// rows is the number promised for the whole minutes that hold [start, end),
// seconds since the Unix epoch.
func (p *progress) rows(start, end int64) uint64 {
	var n uint64
	for m := floor(start, 60) / 60; m*60 < end; m++ {
		n += p.minutes[m].rows
	}
	return n
}

// stored is when the newest batch of the minutes of [start, end) was stored.
func (p *progress) stored(start, end int64) time.Time {
	var newest time.Time
	for m := floor(start, 60) / 60; m*60 < end; m++ {
		if at := p.minutes[m].stored; at.After(newest) {
			newest = at
		}
	}
	return newest
}

// passed says whether nothing more is to be expected before end, and which
// probes were not waited for. A probe that has been silent for a day is gone,
// not missing.
func (p *progress) passed(end int64, now time.Time, silent time.Duration) (bool, []string) {
	missing := map[string]bool{}
	at := time.Unix(end, 0)
	for s, w := range p.workers {
		if w.ended || !w.watermark.Before(at) {
			continue
		}
		since := now.Sub(w.heard)
		if since < silent {
			return false, nil
		}
		if since < 24*time.Hour {
			missing[s.probe] = true
		}
	}
	return true, sorted(missing)
}

// read takes in what is new, and returns the minutes whose rows changed.
func (p *progress) read(ctx context.Context, now time.Time) ([]int64, error) {
	if now.Sub(p.synced) > resync {
		return p.reload(ctx, now)
	}
	return p.since(ctx, p.newest.Add(-overlap), now)
}

// since takes in the rows stored at or after from.
func (p *progress) since(ctx context.Context, from, now time.Time) ([]int64, error) {
	rows, err := p.conn.Query(ctx, `SELECT probe, topic, epoch, seq, worker, kafka_partition, kafka_offset, status, received, stored, watermark, end_of_stream, minutes, minute_rows
		FROM batches WHERE stored >= {from:DateTime64(3, 'UTC')} ORDER BY kafka_partition, kafka_offset`,
		clickhouse.Named("from", from.UTC().Format("2006-01-02 15:04:05.000")))
	if err != nil {
		return nil, fmt.Errorf("read batches: %w", err)
	}
	defer rows.Close()
	changed := map[int64]bool{}
	for rows.Next() {
		var id identity
		var status string
		var w worker
		var stored time.Time
		var at, n []uint32
		if err := rows.Scan(&id.probe, &id.topic, &id.epoch, &id.seq, &id.worker, &id.partition, &id.offset, &status, &w.received, &stored, &w.watermark, &w.ended, &at, &n); err != nil {
			return nil, fmt.Errorf("read batches: %w", err)
		}
		if _, known := p.seen[id]; known {
			continue
		}
		p.seen[id] = stored
		if stored.After(p.newest) {
			p.newest = stored
		}
		if status == "quarantined" {
			continue // of no known worker
		}
		w.epoch, w.heard = id.epoch, now
		p.hear(source{id.probe, id.worker}, w)
		if status != "stored" {
			continue
		}
		for i := range min(len(at), len(n)) {
			m := p.minutes[int64(at[i])]
			m.rows += uint64(n[i])
			if stored.After(m.stored) {
				m.stored = stored
			}
			p.minutes[int64(at[i])] = m
			changed[int64(at[i])] = true
		}
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read batches: %w", err)
	}
	for id, stored := range p.seen {
		if stored.Before(p.newest.Add(-2 * overlap)) {
			delete(p.seen, id)
		}
	}
	return keys(changed), nil
}

// hear takes in how far a worker has got. A new epoch takes the place of the old
// one, whose batches were all published before.
func (p *progress) hear(s source, w worker) {
	old, known := p.workers[s]
	switch {
	case !known:
	case old.epoch == w.epoch:
		if old.watermark.After(w.watermark) {
			w.watermark = old.watermark
		}
		if old.received.After(w.received) {
			w.received = old.received
		}
		if old.heard.After(w.heard) {
			w.heard = old.heard
		}
		w.ended = w.ended || old.ended
	case w.received.Before(old.received):
		return
	}
	p.workers[s] = w
}

// reload reads everything, most of it summed up by the server, and returns the
// minutes that differ from before.
func (p *progress) reload(ctx context.Context, now time.Time) ([]int64, error) {
	fresh := &progress{conn: p.conn, minutes: map[int64]minute{}, workers: map[source]worker{}, seen: map[identity]time.Time{}, synced: now}
	var newest time.Time
	if err := p.conn.QueryRow(ctx, "SELECT max(stored) FROM batches").Scan(&newest); err != nil {
		return nil, fmt.Errorf("read batches: %w", err)
	}
	cut := newest.Add(-overlap)
	before := clickhouse.Named("cut", cut.UTC().Format("2006-01-02 15:04:05.000"))
	rows, err := p.conn.Query(ctx, `SELECT toInt64(m), sum(n), max(stored) FROM batches FINAL ARRAY JOIN minutes AS m, minute_rows AS n
		WHERE status = 'stored' AND stored < {cut:DateTime64(3, 'UTC')} GROUP BY m SETTINGS max_memory_usage = 2000000000`, before)
	if err != nil {
		return nil, fmt.Errorf("read batches: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var at int64
		var m minute
		if err := rows.Scan(&at, &m.rows, &m.stored); err != nil {
			return nil, fmt.Errorf("read batches: %w", err)
		}
		fresh.minutes[at] = m
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read batches: %w", err)
	}
	rows, err = p.conn.Query(ctx, `SELECT probe, worker, epoch, max(received) AS newest, max(watermark), max(end_of_stream), max(stored) FROM batches
		WHERE status != 'quarantined' AND stored < {cut:DateTime64(3, 'UTC')} GROUP BY probe, worker, epoch ORDER BY newest`, before)
	if err != nil {
		return nil, fmt.Errorf("read batches: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var s source
		var w worker
		if err := rows.Scan(&s.probe, &s.worker, &w.epoch, &w.received, &w.watermark, &w.ended, &w.heard); err != nil {
			return nil, fmt.Errorf("read batches: %w", err)
		}
		fresh.hear(s, w)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read batches: %w", err)
	}
	fresh.newest = newest
	if _, err := fresh.since(ctx, cut, now); err != nil {
		return nil, err
	}
	changed := map[int64]bool{}
	for at, m := range fresh.minutes {
		if p.minutes[at].rows != m.rows {
			changed[at] = true
		}
	}
	for at := range p.minutes {
		if _, still := fresh.minutes[at]; !still {
			changed[at] = true
		}
	}
	for s, w := range fresh.workers { // what was heard of just now was perhaps heard of before
		if old, known := p.workers[s]; known && old.epoch == w.epoch && old.received.Equal(w.received) {
			w.heard = old.heard
			fresh.workers[s] = w
		}
	}
	*p = *fresh
	return keys(changed), nil
}
