package report

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tapwatch/tapwatch/analyzer/notify"
)

const (
	// lookEvery is how often it is looked whether a report is due.
	lookEvery = 20 * time.Second
	// maxMissed bounds the periods that are made up for after a long rest.
	maxMissed = 31
)

// Keeper makes the reports that are due, and sees that each is written and mailed
// once. One at a time may work on a database.
type Keeper struct {
	maker   *Maker
	mailers []*notify.Mailer
	log     *slog.Logger
	written *prometheus.CounterVec
}

// NewKeeper returns a Keeper for what m's configuration asks for; reg may be nil.
func NewKeeper(m *Maker, log *slog.Logger, reg prometheus.Registerer) (*Keeper, error) {
	k := &Keeper{maker: m, log: log, written: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "tapwatch_analyzer_report_reports_total",
		Help: "Reports that were written or mailed, and attempts that failed, by kind and result (ok or failed)."}, []string{"kind", "result"})}
	for i, e := range m.cfg.Email {
		mailer, err := notify.NewMailer(fmt.Sprintf("report.email[%d]", i), e)
		if err != nil {
			return nil, err
		}
		k.mailers = append(k.mailers, mailer)
	}
	if reg != nil {
		reg.MustRegister(k.written)
	}
	return k, nil
}

// Run makes reports while held is true, until ctx ends, and returns nil then.
func (k *Keeper) Run(ctx context.Context, held func() bool) error {
	if len(k.maker.cfg.Kinds) == 0 || k.maker.cfg.Dir == "" && len(k.mailers) == 0 {
		<-ctx.Done()
		return nil
	}
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		if held() {
			if err := k.Pass(ctx, time.Now()); err != nil && ctx.Err() == nil {
				k.log.Warn("cannot make reports; trying on", "error", err)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// target is a place that reports go to.
type target struct {
	name string
	put  func(ctx context.Context, r *Report) error
}

// Pass makes what is due at now: all periods that ended since the newest one that
// was written to each target, or for a target that is new the last.
func (k *Keeper) Pass(ctx context.Context, now time.Time) error {
	var targets []target
	if k.maker.cfg.Dir != "" {
		targets = append(targets, target{"dir", func(_ context.Context, r *Report) error { return Write(k.maker.cfg.Dir, r) }})
	}
	for _, m := range k.mailers {
		targets = append(targets, target{"mail:" + m.Name(), func(ctx context.Context, r *Report) error { return send(ctx, m, r) }})
	}
	var all error
	made := map[string]*Report{}
	for _, kind := range k.maker.cfg.Kinds {
		for _, t := range targets {
			if err := k.catchUp(ctx, kind, t, made, now); err != nil {
				k.written.WithLabelValues(kind, "failed").Inc()
				all = errors.Join(all, fmt.Errorf("%s report for %s: %w", kind, t.name, err))
			}
		}
	}
	return all
}

func (k *Keeper) catchUp(ctx context.Context, kind string, t target, made map[string]*Report, now time.Time) error {
	current, err := PeriodOf(kind, now.Add(-k.maker.cfg.Delay).In(k.maker.loc))
	if err != nil {
		return err
	}
	last, err := PeriodOf(kind, current.Start.Add(-12*time.Hour))
	if err != nil {
		return err
	}
	newest, err := k.newest(ctx, kind, t.name)
	if err != nil {
		return err
	}
	next := last
	if !newest.IsZero() {
		// A start in another zone, from before a change of the configuration, is in
		// the period that has its noon.
		p, err := PeriodOf(kind, newest.In(k.maker.loc).Add(12*time.Hour))
		if err != nil {
			return err
		}
		next = p.Next()
	}
	for oldest := last; ; { // skip what is too old
		missed := 0
		for p := next; !p.Start.After(last.Start) && missed <= maxMissed; p = p.Next() {
			missed++
		}
		if missed <= maxMissed || !next.Start.Before(oldest.Start) {
			break
		}
		next = next.Next()
	}
	for ; !next.Start.After(last.Start); next = next.Next() {
		r := made[next.Name()]
		if r == nil {
			if r, err = k.maker.Make(ctx, next); err != nil {
				return err
			}
			made[next.Name()] = r
		}
		if err := t.put(ctx, r); err != nil {
			return err
		}
		if err := k.record(ctx, next, t.name, now); err != nil {
			return err
		}
		k.written.WithLabelValues(kind, "ok").Inc()
		k.log.Info("report written", "report", r.Name, "target", t.name)
	}
	return nil
}

// newest is the start of the newest period that was written, zero: none.
func (k *Keeper) newest(ctx context.Context, kind, to string) (time.Time, error) {
	text, err := statements.ReadFile("sql/written.sql")
	if err != nil {
		return time.Time{}, err
	}
	var at time.Time
	err = k.maker.conn.QueryRow(ctx, string(text), clickhouse.Named("kind", kind), clickhouse.Named("target", to)).Scan(&at)
	if err != nil {
		return at, fmt.Errorf("read reports_written: %w", err)
	}
	if at.Unix() == 0 {
		return time.Time{}, nil
	}
	return at, nil
}

func (k *Keeper) record(ctx context.Context, p Period, to string, now time.Time) error {
	ctx = clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"async_insert": 0}))
	batch, err := k.maker.conn.PrepareBatch(ctx, "INSERT INTO reports_written (kind, start, end, target, at)")
	if err != nil {
		return fmt.Errorf("store reports_written: %w", err)
	}
	if err := batch.Append(p.Kind, p.Start.UTC(), p.End.UTC(), to, now.UTC()); err != nil {
		return errors.Join(fmt.Errorf("store reports_written: %w", err), batch.Abort())
	}
	if err := batch.Send(); err != nil {
		return fmt.Errorf("store reports_written: %w", err)
	}
	return nil
}

// files are those of a report by name.
func files(r *Report) ([]notify.File, error) {
	var page bytes.Buffer
	if err := r.HTML(&page); err != nil {
		return nil, fmt.Errorf("write %s.html: %w", r.Name, err)
	}
	list := []notify.File{{Name: r.Name + ".html", Type: "text/html", Data: page.Bytes()}}
	tables, err := r.CSV()
	for _, t := range tables {
		list = append(list, notify.File{Name: r.Name + "-" + t.Name + ".csv", Type: "text/csv", Data: t.Data})
	}
	return list, err
}

// Write writes a report into a directory: NAME.html and NAME-TABLE.csv. A file is
// whole or not there; one that is there is replaced.
func Write(dir string, r *Report) error {
	list, err := files(r)
	if err != nil {
		return err
	}
	for _, f := range list {
		if err := replace(filepath.Join(dir, f.Name), f.Data); err != nil {
			return fmt.Errorf("write report: %w", err)
		}
	}
	return nil
}

func replace(path string, data []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".report-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	_, err = f.Write(data)
	if err = errors.Join(err, f.Chmod(0o640), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

func send(ctx context.Context, m *notify.Mailer, r *Report) error {
	list, err := files(r)
	if err != nil {
		return err
	}
	var text strings.Builder
	fmt.Fprintf(&text, "Network report, %s, %s to %s (%s)\n\n", r.Kind, r.From.Format(time.DateTime), r.To.Format(time.DateTime), r.Zone)
	for i, l := range r.Links {
		if i < 10 {
			fmt.Fprintf(&text, "%s: %s, 95th percentile %s\n", printable(l.Name, 100, false), octets(l.Octets), bps(l.P95))
		}
	}
	var incidents uint64
	for _, e := range r.Events {
		incidents += e.Alerts
	}
	fmt.Fprintf(&text, "%d incidents\n\nThe report is attached.\n", incidents)
	return m.Send(ctx, "report-"+r.Name, "[tapwatch] "+r.Name, text.String(), list)
}
