package retain

import (
	"context"
	"fmt"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// Measure looks at what the tables take and at the disk.
func Measure(ctx context.Context, conn driver.Conn, o Options) (Usage, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	u := Usage{Tables: map[string]int64{}}
	rows, err := conn.Query(ctx, partsSQL)
	if err != nil {
		return u, fmt.Errorf("measure tables: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var p Partition
		var quiet int64
		if err := rows.Scan(&p.Table, &p.Name, &p.Bytes, &p.Rows, &quiet); err != nil {
			return u, fmt.Errorf("measure tables: %w", err)
		}
		p.Quiet = time.Duration(quiet) * time.Second
		u.Tables[p.Table] += p.Bytes
		u.Used += p.Bytes
		if p.Name != "" {
			u.Partitions = append(u.Partitions, p)
		}
	}
	if err := rows.Err(); err != nil {
		return u, fmt.Errorf("measure tables: %w", err)
	}
	if err := conn.QueryRow(ctx, diskSQL).Scan(&u.Free, &u.Total); err != nil {
		return u, fmt.Errorf("measure disk: %w", err)
	}
	reserve := int64(o.Reserve)
	if reserve == 0 {
		reserve = u.Total / reserveShare
	}
	u.Budget = max(u.Used+u.Free-reserve, 0)
	if o.MaxBytes > 0 {
		u.Budget = min(u.Budget, int64(o.MaxBytes))
	}
	u.Excess = max(u.Used-u.Budget, 0)
	return u, nil
}

// sample notes what all takes now.
func (k *Keeper) sample(ctx context.Context, u Usage) error {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	batch, err := k.Conn.PrepareBatch(clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"async_insert": 0})),
		"INSERT INTO storage_samples (time, table, bytes, rows)")
	if err != nil {
		return fmt.Errorf("write storage_samples: %w", err)
	}
	rows := map[string]uint64{}
	for _, p := range u.Partitions {
		rows[p.Table] += p.Rows
	}
	now := k.now().UTC()
	for name, bytes := range u.Tables {
		if err := batch.Append(now, name, uint64(bytes), rows[name]); err != nil {
			return fmt.Errorf("write storage_samples: %w", err)
		}
	}
	if err := batch.Send(); err != nil {
		return fmt.Errorf("write storage_samples: %w", err)
	}
	return nil
}

// Predict tells from the samples of the last two weeks where this leads; false:
// there are too few of them yet.
func Predict(ctx context.Context, conn driver.Conn, u Usage, o Options) (Forecast, bool, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	rows, err := conn.Query(ctx, samplesSQL, clickhouse.Named("since", time.Now().Add(-samplesFor).UTC().Format(layoutSeconds)))
	if err != nil {
		return Forecast{}, false, fmt.Errorf("read storage_samples: %w", err)
	}
	defer rows.Close()
	var samples []Sample
	for rows.Next() {
		var s Sample
		if err := rows.Scan(&s.Time, &s.Bytes, &s.Gone); err != nil {
			return Forecast{}, false, fmt.Errorf("read storage_samples: %w", err)
		}
		samples = append(samples, s)
	}
	if err := rows.Err(); err != nil {
		return Forecast{}, false, fmt.Errorf("read storage_samples: %w", err)
	}
	f, ok := forecast(samples, u.Budget, u.keep(o))
	return f, ok, nil
}

// keep is how long an octet stays, of the tables as they are now.
func (u Usage) keep(o Options) time.Duration {
	var days, bytes float64
	for _, r := range o.rules() {
		b := float64(u.Tables[r.table])
		bytes += b
		days += b * r.keep.Hours() / 24
	}
	if bytes == 0 {
		return time.Duration(o.Flows) * dayLong
	}
	return time.Duration(days / bytes * 24 * float64(time.Hour))
}
