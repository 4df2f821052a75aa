package store

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"

	"github.com/tapwatch/tapwatch/collector/consume"
)

// Twins are the same batch at two places of Kafka, stored by two owners who each
// looked for the other's row in `batches` before it was there. (One after the
// other is plain: the second is a duplicate.) Nothing locks them out of each
// other, so they are found afterwards: a block writes its rows of `batches` and
// then looks who else has; of two, the later one to write sees both. The rows of
// all places but one are removed.
//
// Which one stays: on each day, the least of the places that have all rows. The
// least place that ever was complete is removed by nobody, whoever looks and
// whenever, so one copy is left however many do this at once; and all others are
// seen by somebody. A block that dies on the way is repeated, and looks again.

// claim is a row of `batches`, as far as it matters here.
type claim struct {
	topic  string
	place  place
	stored time.Time
}

func (c claim) before(d claim) bool {
	return cmp.Or(cmp.Compare(c.topic, d.topic), cmp.Compare(c.place.partition, d.place.partition), cmp.Compare(c.place.offset, d.place.offset)) < 0
}

// settleTwins leaves one copy of each batch of the block.
func (s *Store) settleTwins(ctx context.Context, b *consume.Block, messages []message) error {
	claims, err := s.claims(ctx, messages)
	if err != nil || claims == nil {
		return err
	}
	// Rows of a duplicate can be there when the block was begun before the other
	// place had stored it.
	doubtful := func(m *message) bool {
		return m.Batch != nil && (len(claims[m.identity()]) > 1 || m.status == duplicate && (b.Repeated || b.Suspect))
	}
	twins := make([]message, 0, 1)
	seen := map[identity]bool{}
	for i := range messages {
		if m := messages[i]; doubtful(&m) && !seen[m.identity()] {
			seen[m.identity()] = true
			m.status, m.days = stored, splitDays(m.Batch)
			twins = append(twins, m)
		}
	}
	if len(twins) == 0 {
		return nil
	}
	removed := 0
	for _, day := range days(twins) {
		n, err := s.removeTwins(ctx, b, day, twins)
		if err != nil {
			return err
		}
		removed += n
	}
	if err := s.settleAll(ctx, twins, claims, removed > 0); err != nil {
		return err
	}
	if removed == 0 {
		return nil
	}
	s.metrics.twins.Add(float64(removed))
	s.log.Warn("a batch was stored by two partitions at once: the rows of one have been removed", "block", b.Token(), "batches", len(twins), "rows", removed)
	return s.rebuild(ctx, twins)
}

// settleAll settles the claims to the twins, those of which there is only one if
// rows were removed. Somebody who saw fewer of them may write at the same moment
// that one is stored of which we write that it is a duplicate: so whoever has
// written looks again, until a single claim is left.
func (s *Store) settleAll(ctx context.Context, twins []message, claims map[identity][]claim, removed bool) error {
	for {
		var contested []message
		for i := range twins {
			id := twins[i].identity()
			if len(claims[id]) < 2 && !removed {
				continue
			}
			if err := s.retry(ctx, "settle twins of "+id.String(), func(ctx context.Context) error { return s.settleClaims(ctx, id, claims[id]) }); err != nil {
				return err
			}
			contested = append(contested, twins[i])
		}
		if len(contested) == 0 {
			return nil
		}
		var err error
		if claims, err = s.claims(ctx, contested); err != nil {
			return err
		}
		twins, removed = contested, false
	}
}

// claims are the rows of `batches` that say of a batch that it is stored.
func (s *Store) claims(ctx context.Context, messages []message) (claims map[identity][]claim, err error) {
	ids, err := identities(messages, func(m *message) bool { return m.Batch != nil })
	if err != nil || ids == nil {
		return nil, err
	}
	err = s.retry(ctx, "look for twins", func(ctx context.Context) error {
		claims = map[identity][]claim{}
		rows, err := s.conn.Query(clickhouse.Context(ctx, clickhouse.WithExternalTable(ids.table)), `
			SELECT probe, epoch, worker, seq, topic, kafka_partition, kafka_offset, stored
			FROM batches FINAL
			WHERE (probe, epoch, worker, seq) IN (SELECT probe, epoch, worker, seq FROM ids)
			  AND probe IN (SELECT probe FROM ids) AND epoch IN (SELECT epoch FROM ids)
			  AND status IN ('stored', 'expired')`)
		if err != nil {
			return fmt.Errorf("query batches: %w", err)
		}
		defer rows.Close()
		for rows.Next() {
			var id identity
			var c claim
			if err := rows.Scan(&id.probe, &id.epoch, &id.worker, &id.seq, &c.topic, &c.place.partition, &c.place.offset, &c.stored); err != nil {
				return fmt.Errorf("query batches: %w", err)
			}
			claims[id] = append(claims[id], c)
		}
		return rows.Err()
	})
	return claims, err
}

// removeTwins removes what is on a day of the batches' rows but one copy, and
// returns how many rows that were.
func (s *Store) removeTwins(ctx context.Context, b *consume.Block, day int64, twins []message) (removed int, err error) {
	d := s.buildDay(b, day, twins)
	defer s.releaseDay(d)
	have, err := s.look(ctx, d)
	if err != nil {
		return 0, err
	}
	var gone []clickhouse.GroupSet
	for i, m := range d.messages {
		keep := place{partition: -1}
		var whole []place
		for at, got := range have[m.identity()] {
			e, err := extentOf(m, day, d.parts[i], got)
			if err != nil {
				return 0, err
			}
			if e == everything {
				whole = append(whole, at)
				if keep.partition < 0 || at.before(keep) {
					keep = at
				}
			}
		}
		for _, at := range whole {
			if at != keep {
				id := m.identity()
				gone = append(gone, clickhouse.GroupSet{Value: []any{id.probe, id.epoch, id.worker, id.seq, at.partition, at.offset}})
				removed += int(d.parts[i].rows)
			}
		}
	}
	if len(gone) == 0 {
		return 0, nil
	}
	return removed, s.retry(ctx, "remove twins", func(ctx context.Context) error {
		return s.conn.Exec(ctx, `
			ALTER TABLE flows DELETE IN PARTITION ? WHERE (probe, epoch, worker, seq, kafka_partition, kafka_offset) IN (?)
			SETTINGS mutations_sync = 2`, dateOf(day), gone)
	})
}

// settleClaims makes all claims but the least one's those of duplicates; that one
// is told again, so that whoever follows `batches` looks at its rows anew.
func (s *Store) settleClaims(ctx context.Context, id identity, claims []claim) error {
	if len(claims) == 0 {
		return nil
	}
	least := claims[0]
	for _, c := range claims {
		if c.before(least) {
			least = c
		}
	}
	err := s.conn.Exec(ctx, `
		INSERT INTO batches
		SELECT * REPLACE (if((topic, kafka_partition, kafka_offset) > (?, ?, ?), 'duplicate', status) AS status,
			greatest(now64(3), stored + toIntervalMillisecond(1)) AS stored)
		FROM (SELECT * FROM batches FINAL WHERE probe = ? AND epoch = ? AND worker = ? AND seq = ? AND status IN ('stored', 'expired'))
		SETTINGS async_insert = 0`,
		least.topic, least.place.partition, least.place.offset, id.probe, id.epoch, id.worker, id.seq)
	if err != nil {
		return fmt.Errorf("insert into batches: %w", err)
	}
	return nil
}

// rebuild makes the rollups build the hours and days of these batches again: a
// bucket without an entry has to be built.
func (s *Store) rebuild(ctx context.Context, twins []message) error {
	seen := map[uint32]bool{}
	var buckets []uint32
	add := func(step uint32) {
		if !seen[step] {
			seen[step] = true
			buckets = append(buckets, step)
		}
	}
	for i := range twins {
		for j := range twins[i].Batch.Len() {
			at := uint32(twins[i].Batch.Start(j) / int64(time.Second))
			add(at / 3600 * 3600)
			add(at / 86400 * 86400)
		}
	}
	return s.retry(ctx, "have rollups built again", func(ctx context.Context) error {
		return s.conn.Exec(ctx, "ALTER TABLE rollup_builds DELETE WHERE toUnixTimestamp(bucket) IN ? SETTINGS mutations_sync = 2", buckets)
	})
}
