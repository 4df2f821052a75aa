package store

import (
	"context"
	"fmt"
	"strconv"

	"github.com/tapwatch/tapwatch/collector/consume"
)

// maxPoisoned bounds the tokens tried for one insert. One poisoned token is the
// server's death in a moment of 75 µs; this many is something else.
const maxPoisoned = 16

// putDay writes the rows of one day and returns when they are known to be there.
//
// The token is always tried in the same order: the plain one, #1, #2 … A token
// is passed over only when the insert with it has succeeded and yet none of its
// rows is there, twice, with no attempt of anybody still running in between.
// Another owner of the block does just the same, so two of them at once end up
// with one copy.
//
// While there is doubt, the rows are looked for before each attempt. That they
// are not there proves nothing, since an attempt may be on its way, so the token
// stays the same; that they are there makes a table whose deduplication log is
// gone as safe as one that has it.
func (s *Store) putDay(ctx context.Context, b *consume.Block, blockToken string, day int64, messages []message) error {
	d := s.buildDay(b, day, messages)
	defer s.releaseDay(d)
	base := blockToken + "/" + strconv.Itoa(dateOf(day))
	doubt := b.Repeated // an attempt may have been made that we do not know the end of
	wait := s.backoff()
	for attempt, poisoned := 1, 0; poisoned <= maxPoisoned; attempt++ {
		token := base
		if poisoned > 0 {
			token += "#" + strconv.Itoa(poisoned)
		}
		if doubt {
			switch e, err := s.extent(ctx, b, d); {
			case err != nil:
				return err
			case e == everything:
				s.metrics.present.Add(float64(d.rows))
				return nil
			}
		}
		if err := s.admit(ctx, b); err != nil {
			return err
		}
		o := s.insert(ctx, token, fmt.Sprintf("%s@%s.%d", token, s.instance, attempt), d)
		s.metrics.insert(o)
		if o.useless {
			return o.err
		}
		if o.err != nil {
			doubt = doubt || o.sent
			if err := s.pause(ctx, wait, "write block "+token, o.err); err != nil {
				return err
			}
			continue
		}
		s.ops.Ready("clickhouse", nil)
		wait.Reset()
		if !doubt && !o.dropped {
			return nil
		}
		found, err := s.verify(ctx, b, base, d)
		if err != nil {
			return err
		}
		s.metrics.verified.Inc()
		if found {
			return nil
		}
		s.metrics.poisoned.Inc()
		s.log.Warn("clickhouse has dropped an insert as known, but has none of its rows: trying another token", "token", token)
		doubt = true
		poisoned++
	}
	return fmt.Errorf("block %s: %d tokens were accepted without a row to show: %w", base, maxPoisoned, ErrPartial)
}

// verify says whether all rows of d are there, or none; anything else is an error.
func (s *Store) verify(ctx context.Context, b *consume.Block, base string, d *dayBlock) (bool, error) {
	wait := s.backoff()
	for calm := false; ; {
		e, err := s.extent(ctx, b, d)
		if err != nil || e == everything {
			return e == everything, err
		}
		if calm {
			return false, nil
		}
		running, err := s.running(ctx, base)
		if err != nil {
			return false, err
		}
		if calm = !running; running {
			if err := wait.Wait(ctx); err != nil {
				return false, err
			}
		}
	}
}

// running reports whether a query whose id begins with prefix is at work.
func (s *Store) running(ctx context.Context, prefix string) (bool, error) {
	var n uint64
	err := s.retry(ctx, "look for running inserts", func(ctx context.Context) error {
		return s.conn.QueryRow(ctx, "SELECT count() FROM system.processes WHERE startsWith(query_id, ?)", prefix).Scan(&n)
	})
	return n > 0, err
}
