// Package zeek makes flow records of Zeek's logs. In come the lines of conn.log
// and of the logs beside it, as TSV or JSON, of any Zeek since 2.6; out go flow
// records, one for each line of conn.log, or several segments of one where a
// connection has more transactions than a list of a record holds. What the
// other logs say of a connection is joined to it by its uid.
//
// An Importer belongs to one goroutine. Records it hands out are valid until
// the callback returns.
package zeek

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tapwatch/tapwatch/analyzer/importer/source"
	"github.com/tapwatch/tapwatch/proto/flow"
)

// Origin marks the records of this package.
const Origin = "zeek"

// MaxWaiting is how many lines of other logs may wait for their line of
// conn.log: at about 300 octets each below 1.5 GB. Give archives of many days
// hour by hour, or with --follow, where this is too much.
const MaxWaiting = 5_000_000

// Emit takes a record; its error ends the import.
type Emit func(*flow.Record) error

// Lost is told of lines that are left out: the reason, and the time of the line
// (ns since the epoch, 0 unknown).
type Lost func(reason string, at int64)

// Importer joins logs.
type Importer struct {
	Tally   source.Tally
	Lost    Lost   // may be nil
	Again   bool   // Connections reads what Others has read: bad lines have been counted
	Line    int64  // lines of the file before those that the next reader has
	First   uint64 // connections are numbered from the next number on, in each call of Connections
	waiting map[string]*extra
	lines   int // of other logs that wait
	certs   map[string]*certificate
	tunnels map[string]flow.Tunnel // by uid of the connection that carries it
	flowID  uint64
	rec     flow.Record
}

// New returns an empty Importer.
func New() *Importer {
	return &Importer{waiting: make(map[string]*extra), certs: make(map[string]*certificate), tunnels: make(map[string]flow.Tunnel)}
}

// Kind is the kind of log a file is by its name: "conn" of conn.log,
// conn.15:00:00-16:00:00.log.gz, conn_20240419_00.json or conn.log.labeled.
func Kind(path string) string {
	name := filepath.Base(path)
	end := strings.IndexAny(name, ".-")
	if end < 0 {
		end = len(name)
	}
	name = strings.ToLower(name[:end])
	if i := strings.IndexAny(name, "0123456789"); i > 0 && name[:i] != "x" {
		name = strings.TrimRight(name[:i], "_")
	}
	return name
}

// Others reads a log other than conn.log, and keeps what it says of
// connections; lines of conn.log in it are left for Connections.
func (im *Importer) Others(ctx context.Context, name string, r io.Reader) error {
	return im.each(ctx, name, r, false, func(at place, row *row) error {
		if row.kind == "conn" {
			im.Tally.Read-- // counted by Connections
			return nil
		}
		im.other(at, row)
		return nil
	})
}

// Connections reads a conn.log and hands out its records; other lines in it
// are passed over, they are those of Others.
func (im *Importer) Connections(ctx context.Context, name string, r io.Reader, emit Emit) error {
	im.flowID = im.First
	return im.each(ctx, name, r, im.Again, func(at place, row *row) error {
		if row.kind != "conn" {
			im.Tally.Read--
			return nil
		}
		return im.connection(at, row, emit)
	})
}

// Orphans ends the import: lines that wait still belong to connections that no
// file had. They are counted, or, if asked for because there was no conn.log at all,
// become records of their own that have names, and no counters.
func (im *Importer) Orphans(records bool, emit Emit) error {
	uids := make([]string, 0, len(im.waiting))
	for uid := range im.waiting {
		uids = append(uids, uid)
	}
	// In the order of time, so that the result is the same each time.
	slices.SortFunc(uids, func(a, b string) int {
		if d := im.waiting[a].start - im.waiting[b].start; d != 0 {
			return int(min(max(d, -1), 1))
		}
		return strings.Compare(a, b)
	})
	im.flowID = 0
	for _, uid := range uids {
		e := im.waiting[uid]
		if !records || !source.Storable(e.start, e.end) || e.src == (flow.Addr{}) {
			im.Tally.Skip(source.SkipNoFlow, e.at.file, e.at.line, uint64(e.lines), fmt.Errorf("connection %s is in no conn.log", uid))
			for range e.lines {
				im.lost(source.SkipNoFlow, e.start)
			}
			continue
		}
		r := &im.rec
		r.Reset()
		im.flowID++
		r.Origin, r.FlowID = Origin, im.flowID
		r.SrcIP, r.DstIP, r.SrcPort, r.DstPort, r.Protocol = e.src, e.dst, e.srcPort, e.dstPort, e.protocol
		r.Start, r.End = e.start, e.end
		r.App = appOf(e.kind, r.DstPort)
		if r.App != "" {
			r.AppSource = flow.AppDPI
		}
		im.Tally.Converted++
		im.Tally.Joined += uint64(e.lines - 1)
		if err := im.hand(r, e, emit); err != nil {
			return err
		}
	}
	clear(im.waiting)
	im.lines = 0
	return nil
}

// lost tells of a line, as of a record.
func (im *Importer) lost(reason string, at int64) {
	if im.Lost != nil {
		im.Lost(reason, at)
	}
}

// skip counts one line that is left out.
func (im *Importer) skip(reason string, at place, when int64, cause error) {
	im.Tally.Skip(reason, at.file, at.line, 1, cause)
	im.lost(reason, when)
}

// place is where a line stands.
type place struct {
	file string
	line int64
}

// each parses the lines of a log. What cannot be read is counted; only a
// failing emit and the end of ctx end it early.
func (im *Importer) each(ctx context.Context, name string, r io.Reader, again bool, do func(place, *row) error) error {
	f := newFormat()
	guess := Kind(name)
	lines := source.NewLines(r)
	for {
		line, ok := lines.Next()
		if !ok {
			break
		}
		at := place{name, im.Line + lines.Number()}
		if lines.Number()%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if lines.TooLong() {
			if again {
				continue
			}
			im.Tally.Read++
			im.skip(source.SkipLong, at, 0, nil)
			continue
		}
		row, err := f.parse(line)
		if row == nil && err == nil {
			continue
		}
		if err != nil && again {
			continue
		}
		im.Tally.Read++
		switch {
		case errors.Is(err, errHeader):
			im.skip(source.SkipHeader, at, 0, err)
			continue
		case err != nil:
			im.skip(source.SkipMalformed, at, 0, err)
			continue
		}
		if row.kind == "" {
			if row.kind = kindOf(row); row.kind == "" {
				row.kind = guess
			}
		}
		if err := do(at, row); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil && !again {
		im.Tally.Read++
		im.skip(source.SkipDamaged, place{name, im.Line + lines.Number() + 1}, 0, err)
	}
	return nil
}

// Look says what kind of log a file is, by its header, its first line or its
// name, and whether its lines may be of several kinds: JSON that names the kind on
// each line, in a file whose own name says nothing of it.
func Look(name string, r io.Reader) (kind string, mixed bool) {
	f := newFormat()
	lines := source.NewLines(r)
	for range 100 {
		line, ok := lines.Next()
		if !ok {
			break
		}
		row, err := f.parse(line)
		if err != nil || row == nil {
			continue
		}
		if row.values != nil && row.kind != "" {
			return row.kind, row.kind != Kind(name)
		}
		if row.kind == "" {
			row.kind = kindOf(row)
		}
		if row.kind != "" {
			return row.kind, false
		}
		break
	}
	if f.path != "" {
		return f.path, false
	}
	return Kind(name), false
}

// Expire forgets what waits since before a time, ns: lines of connections that
// no conn.log will have any more. They are counted.
func (im *Importer) Expire(before int64) {
	for uid, e := range im.waiting {
		if e.end >= before {
			continue
		}
		im.Tally.Skip(source.SkipNoFlow, e.at.file, e.at.line, uint64(e.lines), fmt.Errorf("connection %s is in no conn.log", uid))
		for range e.lines {
			im.lost(source.SkipNoFlow, e.start)
		}
		im.lines -= e.lines
		delete(im.waiting, uid)
	}
}
