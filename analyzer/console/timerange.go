package console

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/tapwatch/tapwatch/analyzer/query"
)

// timeRange is a half-open range of traffic time, [From, To).
type timeRange struct{ From, To time.Time }

// Range is how a range is told.
type Range struct {
	From string `json:"from" doc:"first moment, RFC 3339, traffic time"`
	To   string `json:"to" doc:"end, not included"`
}

func (r timeRange) tell() Range { return Range{rfc3339(r.From), rfc3339(r.To)} }

func (r timeRange) params() params { return params{"from": stamp(r.From), "to": stamp(r.To)} }

func (r timeRange) empty() bool { return !r.From.Before(r.To) }

// RangeInput is the part of a question that says when.
type RangeInput struct {
	From string `query:"from" maxLength:"64" doc:"start of the range, traffic time: RFC 3339, a date, or Unix seconds; default: 24 hours before its end, or the beginning where the newest traffic is older than an hour"`
	To   string `query:"to" maxLength:"64" doc:"end of the range, not included; default: the end of the traffic that is stored"`
	Last string `query:"last" maxLength:"16" doc:"length of a range that ends with the stored traffic (or at to): 15m, 24h, 7d, or all; instead of from"`
}

// minTime is the first that DateTime64(9) and the rollups can say.
var minTime = time.Unix(0, 0).UTC()

func parseTime(name, s string) (time.Time, error) {
	t, err := query.ParseTime(s)
	if err != nil {
		return t, badRequest("%s: %s", name, err)
	}
	return t, nil
}

// layoutSafe quotes what a client sent, for the sentence that refuses it.
func layoutSafe(s string) string { return strconv.QuoteToASCII(s) }

// parseLength reads 15m, 24h or 7d; 0 is all.
func parseLength(s string) (time.Duration, error) {
	if s == "all" {
		return 0, nil
	}
	d, err := query.ParseLength(s)
	if err != nil {
		return 0, badRequest("last: %s is not a length of time; write 15m, 24h, 7d or all", layoutSafe(s))
	}
	return d, nil
}

// Without a range a question is about the latest day of live traffic; where the
// newest is not recent, a capture was read, and the question is about all of it.
const (
	defaultLength = 24 * time.Hour
	recent        = time.Hour
)

// resolve says which range a question is about. What is not given is taken from
// the traffic that is stored, not from the clock.
func (d *database) resolve(ctx context.Context, in RangeInput) (timeRange, error) {
	var r timeRange
	var err error
	if in.From != "" && in.Last != "" {
		return r, badRequest("from and last: only one of them can be given")
	}
	if in.From != "" {
		if r.From, err = parseTime("from", in.From); err != nil {
			return r, err
		}
	}
	if in.To != "" {
		if r.To, err = parseTime("to", in.To); err != nil {
			return r, err
		}
	}
	length := defaultLength
	if in.Last != "" {
		if length, err = parseLength(in.Last); err != nil {
			return r, err
		}
	}
	if in.From == "" || in.To == "" {
		stored, err := d.stored(ctx)
		if err != nil {
			return r, err
		}
		if in.To == "" {
			r.To = stored.To
		}
		switch {
		case in.From != "":
		case length == 0, in.Last == "" && in.To == "" && time.Since(stored.To) > recent:
			r.From = stored.From
		default:
			r.From = r.To.Add(-length)
		}
		if r.From.Before(minTime) {
			r.From = minTime
		}
		if stored.empty() && in.From == "" && in.To == "" {
			return timeRange{}, nil // nothing stored yet: an empty range, not an error
		}
		if in.To == "" && r.From.After(r.To) {
			r.To = r.From
		}
	}
	if r.To.Before(r.From) {
		return r, badRequest("to: %s is before from %s", rfc3339(r.To), rfc3339(r.From))
	}
	return r, nil
}

// stored is the range of the traffic that was seen, in whole minutes; empty
// when there is none.
func (d *database) stored(ctx context.Context) (timeRange, error) {
	return cached(&d.cache, "stored", func() (timeRange, error) {
		var rows uint64
		var first, last uint64
		err := d.one(ctx, `SELECT count(), toUInt64(min(arrayMin(arrayConcat(minutes, arrayMap(s -> intDiv(toUInt32(s), 60), ledger_second))))),
			toUInt64(max(arrayMax(arrayConcat(minutes, arrayMap(s -> intDiv(toUInt32(s), 60), ledger_second)))))
			FROM batches WHERE status IN ('stored', 'expired') AND (notEmpty(minutes) OR notEmpty(ledger_second))`, nil, &rows, &first, &last)
		if err != nil {
			return timeRange{}, fmt.Errorf("read the range of the traffic: %w", err)
		}
		if rows == 0 {
			return timeRange{}, nil
		}
		return timeRange{time.Unix(int64(first)*60, 0).UTC(), time.Unix(int64(last+1)*60, 0).UTC()}, nil
	})
}
