package main

import (
	"context"
	"embed"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"golang.org/x/sys/unix"
)

//go:embed questions/*.sql
var questionFiles embed.FS

// question is one file: a line that says what is asked, a line for each
// parameter with the query that finds a value for it, and the question's SQL.
type question struct {
	file, title, sql string
	picks            [][2]string // name, SQL
	params           clickhouse.Parameters
}

// readQuestions parses the files and finds values that have about as many flows
// as a thousand in ninety days are in the days there are.
func readQuestions(ctx context.Context, db driver.Conn, days int) ([]question, error) {
	files, err := questionFiles.ReadDir("questions")
	if err != nil {
		return nil, err
	}
	most := max(2, 1000*days/90)
	limits := strings.NewReplacer("{few}", fmt.Sprint(most*8/10), "{most}", fmt.Sprint(most))
	var list []question
	for _, f := range files {
		text, err := questionFiles.ReadFile("questions/" + f.Name())
		if err != nil {
			return nil, err
		}
		q := question{file: f.Name(), params: clickhouse.Parameters{}}
		for line := range strings.Lines(string(text)) {
			comment, isComment := strings.CutPrefix(line, "-- ")
			name, pick, isPick := strings.Cut(comment, ": ")
			switch {
			case isComment && q.title == "":
				q.title = strings.TrimSpace(comment)
			case isComment && isPick:
				q.picks = append(q.picks, [2]string{name, limits.Replace(pick)})
			default:
				q.sql += line
			}
		}
		list = append(list, q)
	}
	chosen := map[string]string{}
	for i := range list {
		for _, p := range list[i].picks {
			if _, done := chosen[p[1]]; !done {
				var v string
				if err := db.QueryRow(ctx, p[1]).Scan(&v); err != nil {
					return nil, fmt.Errorf("choose %s for question %s: %w", p[0], list[i].file, err)
				}
				chosen[p[1]] = v
			}
			list[i].params[p[0]] = chosen[p[1]]
		}
	}
	return list, nil
}

// cost of one query.
type cost struct {
	wall, cpu         time.Duration
	read, bytes, rows uint64
}

// ask runs a query to its end and returns what it cost the server.
func ask(ctx context.Context, db driver.Conn, sql string, params clickhouse.Parameters) (c cost, err error) {
	ctx = clickhouse.Context(ctx, clickhouse.WithParameters(params),
		// The same question again must not be answered from memory of the last time.
		clickhouse.WithSettings(clickhouse.Settings{"use_query_condition_cache": 0, "use_query_cache": 0}),
		clickhouse.WithProgress(func(p *clickhouse.Progress) { c.read += p.Rows; c.bytes += p.Bytes }),
		clickhouse.WithProfileEvents(func(events []clickhouse.ProfileEvent) {
			for _, e := range events {
				if e.Name == "OSCPUVirtualTimeMicroseconds" && e.Value > 0 && e.Type == "increment" {
					c.cpu += time.Duration(e.Value) * time.Microsecond
				}
			}
		}))
	began := time.Now()
	if strings.HasPrefix(sql, "INSERT") { // answers nothing, not even columns
		err := db.Exec(ctx, sql)
		c.wall = time.Since(began)
		return c, err
	}
	rows, err := db.Query(ctx, sql)
	if err != nil {
		return c, err
	}
	defer rows.Close()
	for rows.Next() {
		c.rows++
	}
	if err := rows.Err(); err != nil {
		return c, err
	}
	rows.Close()
	c.wall = time.Since(began)
	return c, nil
}

// caches that a cold question must not find anything in.
var caches = []string{"MARK CACHE", "UNCOMPRESSED CACHE", "INDEX MARK CACHE", "INDEX UNCOMPRESSED CACHE", "PRIMARY INDEX CACHE", "QUERY CONDITION CACHE",
	"TEXT INDEX CACHES", "MMAP CACHE"}

// cool empties ClickHouse's caches, and the page cache of the table's files.
func cool(ctx context.Context, db driver.Conn, data string) error {
	for _, c := range caches {
		if err := db.Exec(ctx, "SYSTEM DROP "+c); err != nil {
			return fmt.Errorf("drop %s: %w", strings.ToLower(c), err)
		}
	}
	return filepath.WalkDir(data, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil // parts come and go
		}
		f, err := os.Open(path)
		if err != nil {
			return nil
		}
		defer f.Close()
		return unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
	})
}

// questions prints a table: every question, cold once, then the best of runs.
func questions(ctx context.Context, out io.Writer, db driver.Conn, data string, days, runs int) error {
	list, err := readQuestions(ctx, db, days)
	if err != nil {
		return err
	}
	var total, octets uint64
	if err := db.QueryRow(ctx, "SELECT sum(rows), sum(data_uncompressed_bytes) FROM system.parts WHERE active AND database = currentDatabase() AND table = 'flows'").Scan(&total, &octets); err != nil {
		return fmt.Errorf("size of flows: %w", err)
	}
	fmt.Fprint(out, "\n| question | rows found | warm ms | cold ms | CPU ms | rows read | % of rows | MB read | % of octets |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n")
	for _, q := range list {
		if err := cool(ctx, db, data); err != nil {
			return err
		}
		cold, err := ask(ctx, db, q.sql, q.params)
		if err != nil {
			return fmt.Errorf("ask %s: %w", q.file, err)
		}
		best := cold
		for i := range runs {
			c, err := ask(ctx, db, q.sql, q.params)
			if err != nil {
				return fmt.Errorf("ask %s: %w", q.file, err)
			}
			if i == 0 || c.wall < best.wall {
				best.wall = c.wall
			}
			if i == 0 || c.cpu < best.cpu {
				best.cpu = c.cpu
			}
			best.read, best.bytes, best.rows = c.read, c.bytes, c.rows
		}
		fmt.Fprintf(out, "| %s | %d | %.0f | %.0f | %.0f | %s | %.2f | %.1f | %.2f |\n", q.title, best.rows, ms(best.wall), ms(cold.wall), ms(best.cpu),
			count(float64(best.read)), 100*float64(best.read)/float64(total), float64(best.bytes)/1e6, 100*float64(best.bytes)/float64(octets))
	}
	return nil
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
