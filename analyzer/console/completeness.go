package console

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// Completeness says what became of the packets of a range: seen = in flows +
// the losses. Every answer about a range carries the one of its range.
type Completeness struct {
	SeenPackets    uint64 `json:"seen_packets" doc:"packets that reached the capture point, losses included"`
	SeenFrameBytes uint64 `json:"seen_frame_bytes"`
	FlowPackets    uint64 `json:"flow_packets" doc:"packets that are in stored flows, or in records whose loss is told by losses[].records"`
	FlowFrameBytes uint64 `json:"flow_frame_bytes"`

	Share      *float64 `json:"share" doc:"flow_packets / seen_packets, 0 to 1; null: nothing was seen, so nothing is known"`
	LostShare  *float64 `json:"lost_share" doc:"packets of the losses of kind lost / seen_packets; the rest to 1 was set aside on purpose (not IP, filtered)"`
	Losses     []Loss   `json:"losses" doc:"what is not in flows, by reason"`
	Open       int64    `json:"open" doc:"seen_packets - flow_packets - packets of all losses: 0 once the probe has passed the range"`
	Gaps       uint64   `json:"gaps" doc:"batches that are missing and that no probe has declared lost: holes in the numbers of its batches"`
	Incomplete bool     `json:"incomplete" doc:"packets or records were lost, batches are missing, or packets are not accounted for"`
}

// Loss is what is not in flows, for one reason.
type Loss struct {
	Reason     string `json:"reason" doc:"name in flow.proto, or spool_… for batches that a probe had to drop"`
	Kind       string `json:"kind" enum:"aside,lost" doc:"aside: on purpose, no IP packet inside or filtered; lost: a flow is missing or wrong for it"`
	Packets    uint64 `json:"packets"`
	FrameBytes uint64 `json:"frame_bytes" doc:"0 where the kernel tells packets only"`
	Records    uint64 `json:"records" doc:"flow records lost after they were made; their packets are counted in flow_packets"`
}

// kindOf says whether a loss was meant.
func kindOf(reason string) string {
	switch reason {
	case flow.LossFiltered, flow.LossNonIP:
		return "aside"
	}
	return "lost"
}

// lossOrder sorts by kind, packets, reason: the worst first.
func lossOrder(a, b Loss) int {
	switch {
	case a.Kind != b.Kind && a.Kind == "lost":
		return -1
	case a.Kind != b.Kind:
		return 1
	case a.Packets != b.Packets && a.Packets > b.Packets:
		return -1
	case a.Packets != b.Packets:
		return 1
	case a.Reason < b.Reason:
		return -1
	case a.Reason > b.Reason:
		return 1
	}
	return 0
}

// sums is the ledger of one probe, or of all, while it is added up.
type sums struct {
	seenPackets, seenBytes, flowPackets, flowBytes uint64
	started, ended, records                        uint64
	losses                                         map[string]Loss
	gaps                                           uint64
	drops                                          []Drop
}

func newSums() *sums { return &sums{losses: map[string]Loss{}} }

func (s *sums) lose(reason string, packets, bytes, records uint64) {
	l := s.losses[reason]
	l.Reason, l.Kind = reason, kindOf(reason)
	l.Packets, l.FrameBytes, l.Records = l.Packets+packets, l.FrameBytes+bytes, l.Records+records
	s.losses[reason] = l
}

func (s *sums) add(o *sums) {
	s.seenPackets, s.seenBytes = s.seenPackets+o.seenPackets, s.seenBytes+o.seenBytes
	s.flowPackets, s.flowBytes = s.flowPackets+o.flowPackets, s.flowBytes+o.flowBytes
	s.started, s.ended, s.records = s.started+o.started, s.ended+o.ended, s.records+o.records
	s.gaps += o.gaps
	s.drops = append(s.drops, o.drops...)
	for _, l := range o.losses {
		s.lose(l.Reason, l.Packets, l.FrameBytes, l.Records)
	}
}

func (s *sums) completeness() Completeness {
	c := Completeness{SeenPackets: s.seenPackets, SeenFrameBytes: s.seenBytes, FlowPackets: s.flowPackets, FlowFrameBytes: s.flowBytes, Gaps: s.gaps}
	c.Losses = slices.AppendSeq([]Loss{}, maps.Values(s.losses))
	slices.SortFunc(c.Losses, lossOrder)
	c.Open = int64(s.seenPackets) - int64(s.flowPackets)
	var lost, lostRecords uint64
	for _, l := range c.Losses {
		c.Open -= int64(l.Packets)
		lostRecords += l.Records
		if l.Kind == "lost" {
			lost += l.Packets
		}
	}
	if s.seenPackets > 0 {
		share, lostShare := float64(s.flowPackets)/float64(s.seenPackets), float64(lost)/float64(s.seenPackets)
		c.Share, c.LostShare = &share, &lostShare
	}
	c.Incomplete = lost > 0 || lostRecords > 0 || c.Gaps > 0 || c.Open != 0
	return c
}

// ledger adds up what the probes say of a range, by probe.
func (d *database) ledger(ctx context.Context, r timeRange) (map[string]*sums, error) {
	if r.empty() {
		return map[string]*sums{}, nil
	}
	return cached(&d.cache, "ledger "+stamp(r.From)+stamp(r.To), func() (map[string]*sums, error) {
		all := map[string]*sums{}
		of := func(probe string) *sums {
			if all[probe] == nil {
				all[probe] = newSums()
			}
			return all[probe]
		}
		for _, read := range []func(context.Context, timeRange, func(string) *sums) error{d.seen, d.lost, d.dropped, d.gaps} {
			if err := read(ctx, r, of); err != nil {
				return nil, fmt.Errorf("read the ledger: %w", err)
			}
		}
		return all, nil
	})
}

// completeness is the ledger of a range over all probes, or of one.
func (d *database) completeness(ctx context.Context, r timeRange, probe string) (Completeness, error) {
	all, err := d.ledger(ctx, r)
	if err != nil {
		return Completeness{}, err
	}
	total := newSums()
	for name, s := range all {
		if probe == "" || probe == name {
			total.add(s)
		}
	}
	return total.completeness(), nil
}

func (d *database) seen(ctx context.Context, r timeRange, of func(string) *sums) error {
	return d.each(ctx, `SELECT probe, sum(seen_packets), sum(seen_frame_bytes), sum(flow_packets), sum(flow_frame_bytes),
			sum(flows_started), sum(flows_ended), sum(records)
		FROM ledger WHERE second >= {from:DateTime64(9, 'UTC')} AND second < {to:DateTime64(9, 'UTC')} GROUP BY probe`,
		r.params(), func(rows driver.Rows) error {
			var probe string
			var s sums
			if err := rows.Scan(&probe, &s.seenPackets, &s.seenBytes, &s.flowPackets, &s.flowBytes, &s.started, &s.ended, &s.records); err != nil {
				return err
			}
			of(probe).add(&s)
			return nil
		})
}

func (d *database) lost(ctx context.Context, r timeRange, of func(string) *sums) error {
	return d.each(ctx, `SELECT probe, reason, sum(packets), sum(frame_bytes), sum(lost_records)
		FROM ledger_losses WHERE second >= {from:DateTime64(9, 'UTC')} AND second < {to:DateTime64(9, 'UTC')} GROUP BY probe, reason`,
		r.params(), func(rows driver.Rows) error {
			var probe, reason string
			var packets, bytes, records uint64
			if err := rows.Scan(&probe, &reason, &packets, &bytes, &records); err != nil {
				return err
			}
			of(probe).lose(reason, packets, bytes, records)
			return nil
		})
}

// Drop is a run of batches that a probe's spool had to give up.
type Drop struct {
	Reason     string `json:"reason"`
	Batches    uint64 `json:"batches"`
	Records    uint64 `json:"records"`
	Packets    uint64 `json:"packets"`
	FrameBytes uint64 `json:"frame_bytes"`
	After      string `json:"after" doc:"traffic time of the stored batch before the gap, empty: there is none"`
	Before     string `json:"before" doc:"traffic time of the stored batch behind the gap, empty: there is none"`
}

// dropped adds the batches that spools gave up. Their own ledger went with
// them, so their packets are counted as seen here. A run lies between its
// neighbours' traffic times, and is counted whole when that touches the range.
func (d *database) dropped(ctx context.Context, r timeRange, of func(string) *sums) error {
	return d.each(ctx, `SELECT probe, reason, toUInt64(seq_to - seq_from + 1), records, packets, frame_bytes, before, after
		FROM (
			SELECT d.probe AS probe, d.reason AS reason, d.seq_from AS seq_from, d.seq_to AS seq_to,
				any(d.records) AS records, any(d.packets) AS packets, any(d.frame_bytes) AS frame_bytes,
				maxIf(b.clock, b.seq < d.seq_from) AS before, minIf(b.clock, b.seq > d.seq_to) AS after, any(d.declared) AS declared
			FROM ledger_dropped AS d
			LEFT JOIN (SELECT probe, epoch, worker, seq, clock FROM batches
				WHERE status != 'quarantined' AND (probe, epoch, worker) IN (SELECT probe, epoch, worker FROM ledger_dropped)) AS b
				ON b.probe = d.probe AND b.epoch = d.epoch AND b.worker = d.worker
			GROUP BY d.probe, d.epoch, d.worker, d.seq_from, d.seq_to, d.reason
		)
		WHERE before < {to:DateTime64(9, 'UTC')} AND (after >= {from:DateTime64(9, 'UTC')} OR toUnixTimestamp64Nano(after) = 0 AND declared >= {from:DateTime64(9, 'UTC')})
		ORDER BY before LIMIT 10000`,
		r.params(), func(rows driver.Rows) error {
			var probe string
			var drop Drop
			var before, after time.Time
			if err := rows.Scan(&probe, &drop.Reason, &drop.Batches, &drop.Records, &drop.Packets, &drop.FrameBytes, &before, &after); err != nil {
				return err
			}
			drop.After, drop.Before = rfc3339(before), rfc3339(after)
			s := of(probe)
			s.seenPackets, s.seenBytes = s.seenPackets+drop.Packets, s.seenBytes+drop.FrameBytes
			s.lose("spool_"+drop.Reason, drop.Packets, drop.FrameBytes, 0)
			s.drops = append(s.drops, drop)
			return nil
		})
}

// gaps counts the numbers of batches that are neither stored nor declared lost,
// among the batches sealed in the range.
func (d *database) gaps(ctx context.Context, r timeRange, of func(string) *sums) error {
	return d.each(ctx, `SELECT probe, sum(greatest(hi - lo + 1 - have - gone, 0))
		FROM (
			SELECT probe, epoch, worker, toInt64(maxIf(seq, inside)) AS hi,
				toInt64(if(countIf(NOT inside) = 0, 1, minIf(seq, inside))) AS lo, toInt64(uniqExactIf(seq, inside)) AS have
			FROM (SELECT probe, epoch, worker, seq, clock >= {from:DateTime64(9, 'UTC')} AS inside FROM batches
				WHERE status != 'quarantined' AND clock < {to:DateTime64(9, 'UTC')})
			GROUP BY probe, epoch, worker HAVING countIf(inside) > 0
		) AS have
		LEFT JOIN (SELECT probe, epoch, worker, toInt64(sum(seq_to - seq_from + 1)) AS gone FROM ledger_dropped GROUP BY probe, epoch, worker) AS gone
			USING (probe, epoch, worker)
		GROUP BY probe HAVING sum(greatest(hi - lo + 1 - have - gone, 0)) > 0`,
		r.params(), func(rows driver.Rows) error {
			var probe string
			var n int64
			if err := rows.Scan(&probe, &n); err != nil {
				return err
			}
			of(probe).gaps += uint64(n)
			return nil
		})
}
