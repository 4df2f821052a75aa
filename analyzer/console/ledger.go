package console

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/danielgtaylor/huma/v2"

	"github.com/tapwatch/tapwatch/proto/kit/clickhouse"
)

type ledgerInput struct {
	RangeInput
	Probe string `query:"probe" maxLength:"256" doc:"only this probe"`
}

// Ledger accounts for a range: what each probe saw, and what became of it.
type Ledger struct {
	Range        Range        `json:"range"`
	Completeness Completeness `json:"completeness"`
	Total        Account      `json:"total"`
	Probes       []Account    `json:"probes"`
}

// Account is the ledger of one probe, or of all.
type Account struct {
	Probe string `json:"probe" doc:"empty in the total, and for messages that name no probe because they could not be decoded"`
	Completeness

	FlowsStarted uint64 `json:"flows_started" doc:"connections"`
	FlowsEnded   uint64 `json:"flows_ended"`
	Records      uint64 `json:"records" doc:"flow records made in the range; those handed over are these less losses[].records"`

	Batches       Batches        `json:"batches" doc:"messages sealed in the range, by what the collector did with them"`
	Rows          Batches        `json:"rows" doc:"flow records in these messages"`
	Dropped       []Drop         `json:"dropped" doc:"batches that the probe's spool gave up"`
	Interruptions []Interruption `json:"interruptions" doc:"times without an observer: the probe ended without saying so, and began again"`
}

// Batches counts messages or the rows in them: published = stored + duplicate +
// quarantined + expired.
type Batches struct {
	Published   uint64 `json:"published"`
	Stored      uint64 `json:"stored"`
	Duplicate   uint64 `json:"duplicate" doc:"stored before, under another offset"`
	Quarantined uint64 `json:"quarantined" doc:"set aside in the dead-letter topic; rows are not known"`
	Expired     uint64 `json:"expired" doc:"older than the retention when they arrived"`
}

func (b *Batches) add(status string, n uint64) {
	b.Published += n
	switch status {
	case "stored":
		b.Stored += n
	case "duplicate":
		b.Duplicate += n
	case "quarantined":
		b.Quarantined += n
	case "expired":
		b.Expired += n
	}
}

// Interruption is a time in which a probe did not watch and did not say so.
type Interruption struct {
	From        string  `json:"from" doc:"last traffic time it told"`
	To          string  `json:"to" doc:"first traffic time after it began again"`
	Seconds     float64 `json:"seconds"`
	FlowsAtMost uint64  `json:"flows_at_most" doc:"flows it had open: what it can have lost at most, besides what passed meanwhile"`
}

func (c *Console) ledger(ctx context.Context, in *ledgerInput) (*answer[Ledger], error) {
	r, err := c.db.resolve(ctx, in.RangeInput)
	if err != nil {
		return nil, err
	}
	all, err := c.db.ledger(ctx, r)
	if err != nil {
		return nil, err
	}
	accounts := map[string]*Account{}
	of := func(probe string) *Account {
		if accounts[probe] == nil {
			accounts[probe] = &Account{Probe: probe, Completeness: newSums().completeness(), Dropped: []Drop{}, Interruptions: []Interruption{}}
		}
		return accounts[probe]
	}
	total, totals := newSums(), Account{Dropped: []Drop{}, Interruptions: []Interruption{}}
	for probe, s := range all {
		if in.Probe != "" && probe != in.Probe {
			continue
		}
		total.add(s)
		a := of(probe)
		a.Completeness, a.FlowsStarted, a.FlowsEnded, a.Records = s.completeness(), s.started, s.ended, s.records
		a.Dropped = append(a.Dropped, s.drops...)
	}
	if !r.empty() {
		if err := c.db.batches(ctx, r, in.Probe, of); err != nil {
			return nil, fmt.Errorf("count batches: %w", err)
		}
		if err := c.db.interruptions(ctx, r, in.Probe, of); err != nil {
			return nil, fmt.Errorf("look for interruptions: %w", err)
		}
	}
	totals.Completeness, totals.FlowsStarted, totals.FlowsEnded, totals.Records = total.completeness(), total.started, total.ended, total.records
	totals.Dropped = append(totals.Dropped, total.drops...)
	out := Ledger{Range: r.tell(), Completeness: totals.Completeness, Probes: []Account{}}
	for _, probe := range slices.Sorted(maps.Keys(accounts)) {
		a := accounts[probe]
		for _, pair := range [][2]*Batches{{&totals.Batches, &a.Batches}, {&totals.Rows, &a.Rows}} {
			pair[0].Published += pair[1].Published
			pair[0].Stored += pair[1].Stored
			pair[0].Duplicate += pair[1].Duplicate
			pair[0].Quarantined += pair[1].Quarantined
			pair[0].Expired += pair[1].Expired
		}
		totals.Interruptions = append(totals.Interruptions, a.Interruptions...)
		out.Probes = append(out.Probes, *a)
	}
	out.Total = totals
	return &answer[Ledger]{out}, nil
}

// batches counts messages by the traffic time at which they were sealed, or,
// where that could not be read, by when Kafka got them.
func (d *database) batches(ctx context.Context, r timeRange, probe string, of func(string) *Account) error {
	p := r.params()
	p["probe"] = clickhouse.Text(probe)
	return d.each(ctx, `SELECT probe, toString(status), count(), sum(rows) FROM batches FINAL
		WHERE if(toUnixTimestamp64Nano(clock) = 0, toDateTime64(received, 9, 'UTC'), clock) BETWEEN {from:DateTime64(9, 'UTC')} AND {to:DateTime64(9, 'UTC')}
			AND ({probe:String} = '' OR probe = {probe:String})
		GROUP BY probe, status`, p, func(rows driver.Rows) error {
		var probe, status string
		var messages, records uint64
		if err := rows.Scan(&probe, &status, &messages, &records); err != nil {
			return err
		}
		a := of(probe)
		a.Batches.add(status, messages)
		a.Rows.add(status, records)
		return nil
	})
}

// interruptions are the times between an epoch of a probe that was not ended in
// order and the next one.
func (d *database) interruptions(ctx context.Context, r timeRange, probe string, of func(string) *Account) error {
	p := r.params()
	p["probe"] = clickhouse.Text(probe)
	return d.each(ctx, `SELECT probe, last, next, open
		FROM (
			SELECT probe, last, ended, open, leadInFrame(first) OVER (PARTITION BY probe ORDER BY began ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING) AS next
			FROM (
				SELECT probe, epoch, min(began) AS began, min(first) AS first, max(last) AS last, min(ended) AS ended, sum(open) AS open
				FROM (
					SELECT probe, epoch, worker, min(sealed) AS began, minIf(clock, toUnixTimestamp64Nano(clock) > 0) AS first, max(clock) AS last,
						max(end_of_stream) AS ended, argMax(open_flows, seq) AS open
					FROM batches WHERE status IN ('stored', 'expired') AND live AND ({probe:String} = '' OR probe = {probe:String})
					GROUP BY probe, epoch, worker
				)
				GROUP BY probe, epoch
			)
		)
		WHERE NOT ended AND toUnixTimestamp64Nano(next) > 0 AND last < {to:DateTime64(9, 'UTC')} AND next >= {from:DateTime64(9, 'UTC')}
		ORDER BY probe, last LIMIT 1000`, p, func(rows driver.Rows) error {
		var probe string
		var last, next time.Time
		var open uint64
		if err := rows.Scan(&probe, &last, &next, &open); err != nil {
			return err
		}
		a := of(probe)
		a.Interruptions = append(a.Interruptions, Interruption{rfc3339(last), rfc3339(next), max(next.Sub(last).Seconds(), 0), open})
		return nil
	})
}

func (c *Console) ledgerRoutes(api huma.API) {
	register(c, api, "ledger", "/api/v1/ledger", "Ledger",
		"Accounts for the packets of a range, in all and per probe: seen = in flows + each named loss; published = stored + duplicate + quarantined + expired.", c.ledger)
}
