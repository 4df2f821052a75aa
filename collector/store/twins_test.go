package store

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/tapwatch/tapwatch/collector/consume"
	"github.com/tapwatch/tapwatch/proto/local/localtest"
)

// at is the same block in another partition.
func at(b *consume.Block, partition int) *consume.Block {
	c := *b
	c.Partition = partition
	return &c
}

func once(t *testing.T, conn driver.Conn, batches, rows uint64) {
	t.Helper()
	localtest.Expect(t, conn, "SELECT count() FROM flows", rows)
	localtest.Expect(t, conn, "SELECT uniqExact(probe, epoch, worker, seq, row) FROM flows", rows)
	localtest.Expect(t, conn, "SELECT count() FROM batches FINAL WHERE status = 'stored'", batches)
	localtest.Expect(t, conn, "SELECT uniqExact(probe, epoch, worker, seq) FROM batches FINAL WHERE status = 'stored'", batches)
}

// A batch that comes by two partitions, one after the other, is a duplicate the
// second time.
func TestSecondPartition(t *testing.T) {
	s, conn := database(t)
	b := block(t, 3, 50, 10*time.Minute)
	put(t, s, b)
	put(t, open(t, conn), at(b, 1))
	once(t, conn, 3, 150)
	localtest.Expect(t, conn, "SELECT count() FROM batches FINAL WHERE status = 'duplicate' AND kafka_partition = 1", 3)
}

// Two partitions with the same batches take their steps in every order there is;
// in each, either of them dies after any step, and its successor repeats the
// block. One copy is left.
func TestTwinsInAnyOrder(t *testing.T) {
	s, conn := database(t)
	steps := []func(context.Context, *consume.Block, []message) error{s.mark, s.putDays, s.tell, s.settleTwins}
	template := block(t, 2, 20, time.Minute)
	epoch := template.Messages[0].Batch.Header().Epoch
	var orders func(order []int, left [2]int)
	var all [][]int
	orders = func(order []int, left [2]int) {
		if left[0]+left[1] == 0 {
			all = append(all, append([]int(nil), order...))
			return
		}
		for w := range left {
			if left[w] > 0 {
				next := left
				next[w]--
				orders(append(order, w), next)
			}
		}
	}
	orders(nil, [2]int{len(steps), len(steps)})
	if os.Getenv("TAPWATCH_E2E") != "full" { // each costs mutations, of a second together
		some := all[:0:0]
		for i := 3; i < len(all); i += 13 {
			some = append(some, all[i])
		}
		all = some
	}
	var batches, rows uint64
	for n, order := range all {
		epoch++
		for _, m := range template.Messages {
			m.Batch.Header().Epoch = epoch
		}
		var twins [2]*consume.Block
		var messages [2][]message
		for w := range twins {
			twins[w] = at(template, w)
			twins[w].From, twins[w].To = int64(n*10), int64(n*10+2)
			twins[w].Messages = append([]consume.Message(nil), template.Messages...)
			for i := range twins[w].Messages {
				twins[w].Messages[i].Offset = int64(n*10 + i)
			}
			messages[w] = s.sort(twins[w])
		}
		// Who dies after how many of its steps; len(steps) is nobody.
		dies, after := n%2, n%(len(steps)+1)
		var done [2]int
		for _, w := range order {
			if w == dies && done[w] >= after {
				continue
			}
			if err := steps[done[w]](t.Context(), twins[w], messages[w]); err != nil {
				t.Fatalf("order %v, step %d of %d: %v", order, done[w], w, err)
			}
			done[w]++
		}
		twins[dies].Repeated = true
		put(t, s, twins[dies])
		batches, rows = batches+2, rows+40
	}
	once(t, conn, batches, rows)
	if removed := counter(t, s, "tapwatch_collector_store_twin_rows_total"); removed < float64(rows)/4 {
		t.Errorf("only %v rows were removed of %d: the test has not tested", removed, rows)
	}
}

// Three partitions at the same time. Now and then two of them settle it at once,
// one of whom has not seen the third.
func TestTwinsAtOnce(t *testing.T) {
	_, conn := database(t)
	template := block(t, 3, 100, time.Minute)
	rounds := uint64(2)
	if os.Getenv("TAPWATCH_E2E") == "full" {
		rounds = 12
	}
	for round := range rounds {
		for _, m := range template.Messages {
			m.Batch.Header().Epoch = 1000 + round
		}
		var all sync.WaitGroup
		for w := range 3 {
			b, s := at(template, w), open(t, conn)
			b.From = int64(round)
			all.Go(func() {
				if err := s.Put(t.Context(), b); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		once(t, conn, 3*(round+1), 300*(round+1))
	}
}

// The table has lost what it knew of tokens: a repeated block is not written
// again, and one of which nothing is there is.
func TestLostDeduplicationLog(t *testing.T) {
	s, conn := database(t)
	b, c := block(t, 3, 100, 10*time.Minute), block(t, 3, 100, 10*time.Minute)
	c.From, c.To = 20, 23
	put(t, s, b)
	for i := range c.Messages {
		c.Messages[i].Offset += 10
		c.Messages[i].Batch.Header().Epoch++
	}
	localtest.Exec(t, conn, "TRUNCATE TABLE batches")
	localtest.Exec(t, conn, "ALTER TABLE flows MODIFY SETTING non_replicated_deduplication_window = 0")
	localtest.Exec(t, conn, "ALTER TABLE flows MODIFY SETTING non_replicated_deduplication_window = 100000")
	for _, again := range []*consume.Block{b, c} {
		again.Repeated = true
		put(t, open(t, conn), again)
	}
	once(t, conn, 6, 600)
	// The proof that it was lost: a plain insert with the token is taken.
	d := s.buildDay(b, splitDays(b.Messages[0].Batch)[0].day, s.sort(b))
	defer s.releaseDay(d)
	if o := s.insert(t.Context(), fmt.Sprintf("%s/%d", b.Token(), dateOf(d.day)), "plain", d); o.err != nil || o.dropped {
		t.Errorf("%+v: the log was not lost", o)
	}
}

// A block is let go when its partition has another owner, before anything is written.
func TestNotConfirmed(t *testing.T) {
	s, conn := database(t)
	b := block(t, 1, 10, time.Second)
	b.Confirm = func(context.Context) error { return context.Canceled }
	if err := s.Put(t.Context(), b); err != context.Canceled {
		t.Errorf("got %v", err)
	}
	localtest.Expect(t, conn, "SELECT count() FROM flows", 0)
	localtest.Expect(t, conn, "SELECT count() FROM batches", 0)
}
