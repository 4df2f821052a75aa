// Package detecttest runs scenarios of detectors: txtar files with a table of
// flows and the alerts that are expected of it. The flows go through tables and
// scheduler as real traffic does, rollups included.
package detecttest

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/tapwatch/tapwatch/proto/flow"
	"github.com/tapwatch/tapwatch/proto/local/localtest"
)

// Main runs the tests of a package beside one embedded ClickHouse.
func Main(m *testing.M) { localtest.Main(m) }

// Flow is one flow: a line of a scenario's flow table after its generator has run.
type Flow struct {
	at, took         time.Duration // since the scenario's start
	src, dst         netip.Addr
	sport, port      uint16
	proto            uint8
	state            string
	out, in          uint64 // payload
	sni, app, reason string
	probe            string // "p1" if empty
	guessed          bool
	segment          uint32
	ttl              uint8
	id               uint64
	columns          map[string]string // other columns of flows, by name, as text
}

// ParseFlows reads a flow table: first "start RFC3339", then one generator a
// line, as words of name=value:
//
//	at=+90s        of the first flow (default 0)
//	n=20 every=1s  how many, and how far apart
//	jitter=2s      each up to that much later (seeded), poisson=true: exponential gaps of mean every
//	src= dst= sport= port= proto=tcp|udp|icmp state=S0|REJ|SF|…
//	out= in=       payload bytes of the initiator and the responder; outvar= percent of change (seeded)
//	took=  sni= app= guessed=true segment= reason= ttl= probe= unasked=true (no packet of the initiator)
//
// Any other name is a column of flows; a list is separated by commas, a map
// is not to be had, %20 is a blank.
//
// In any value {i} is the number of the repetition, and {i%250+1} reckons from
// left to right.
func ParseFlows(text string) (start time.Time, rows []Flow, err error) {
	scan := bufio.NewScanner(strings.NewReader(text))
	random := rand.New(rand.NewPCG(1, 2))
	for scan.Scan() {
		line, _, _ := strings.Cut(scan.Text(), "#")
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		if words[0] == "start" {
			if start, err = time.Parse(time.RFC3339, words[1]); err != nil {
				return start, nil, err
			}
			continue
		}
		value := map[string]string{"n": "1", "every": "1s", "at": "0s", "proto": "tcp", "took": "0s", "jitter": "0s", "state": "SF", "outvar": "0", "ttl": "64"}
		for _, w := range words {
			name, v, ok := strings.Cut(w, "=")
			if !ok {
				return start, nil, fmt.Errorf("%q: not name=value", w)
			}
			value[name] = v
		}
		n, err := strconv.Atoi(value["n"])
		if err != nil {
			return start, nil, err
		}
		gap := time.Duration(0)
		for i := range n {
			get := func(name string) string { return expand(value[name], i) }
			r := Flow{state: get("state"), sni: get("sni"), app: get("app"), reason: get("reason"), probe: get("probe"), guessed: get("guessed") == "true", id: uint64(len(rows) + 1)}
			every, err := time.ParseDuration(value["every"])
			if err != nil {
				return start, nil, err
			}
			at, err := time.ParseDuration(strings.TrimPrefix(get("at"), "+"))
			if err != nil {
				return start, nil, err
			}
			r.at = at + gap
			if jitter, _ := time.ParseDuration(value["jitter"]); jitter > 0 {
				r.at += time.Duration(random.Int64N(int64(jitter)))
			}
			if value["poisson"] == "true" {
				gap += time.Duration(random.ExpFloat64() * float64(every))
			} else {
				gap += every
			}
			if r.took, err = time.ParseDuration(get("took")); err != nil {
				return start, nil, err
			}
			if r.src, err = netip.ParseAddr(get("src")); err != nil {
				return start, nil, err
			}
			if r.dst, err = netip.ParseAddr(get("dst")); err != nil {
				return start, nil, err
			}
			r.proto = map[string]uint8{"icmp": 1, "icmp6": 58, "tcp": 6, "udp": 17, "sctp": 132}[get("proto")]
			r.port, r.sport = uint16(integer(get("port"), 0)), uint16(integer(get("sport"), 40000+i%20000))
			r.out, r.in = uint64(integer(get("out"), 0)), uint64(integer(get("in"), 0))
			if percent := integer(value["outvar"], 0); percent > 0 {
				r.out = uint64(float64(r.out) * (1 + float64(percent)/100*(2*random.Float64()-1)))
			}
			r.segment, r.ttl = uint32(integer(get("segment"), 0)), uint8(integer(get("ttl"), 64))
			for name := range value {
				if known := ownWords[name]; !known {
					if r.columns == nil {
						r.columns = map[string]string{}
					}
					r.columns[name] = strings.ReplaceAll(get(name), "%20", " ")
				}
			}
			rows = append(rows, r)
		}
	}
	if start.IsZero() {
		return start, nil, fmt.Errorf("no start")
	}
	return start, rows, scan.Err()
}

func integer(text string, otherwise int) int {
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		panic(err)
	}
	return n
}

// ownWords are the names that have a meaning of their own.
var ownWords = map[string]bool{"at": true, "n": true, "every": true, "jitter": true, "poisson": true, "src": true, "dst": true, "sport": true, "port": true,
	"proto": true, "state": true, "out": true, "in": true, "outvar": true, "took": true, "sni": true, "app": true, "guessed": true, "segment": true,
	"reason": true, "ttl": true, "probe": true}

var (
	braces    = regexp.MustCompile(`\{i[^}]*\}`)
	operation = regexp.MustCompile(`([-+*/%])(\d+)`)
)

func expand(text string, i int) string {
	return braces.ReplaceAllStringFunc(text, func(s string) string {
		v := i
		for _, op := range operation.FindAllStringSubmatch(s, -1) {
			n, _ := strconv.Atoi(op[2])
			switch op[1] {
			case "+":
				v += n
			case "-":
				v -= n
			case "*":
				v *= n
			case "/":
				v /= n
			case "%":
				v %= n
			}
		}
		return strconv.Itoa(v)
	})
}

// tcpFlags are those of both sides for a state.
func tcpFlags(state string) (src, dst uint8) {
	switch state {
	case "S0":
		return 2, 0
	case "REJ":
		return 2, 20
	case "RSTOS0":
		return 6, 0
	case "RSTO":
		return 6, 18
	case "OTH": // half open
		return 2, 18
	case "RSTRH":
		return 18, 4
	}
	return 27, 27
}

// Load stores rows as the collector would: flows, and the batches that promise
// them, from probes whose streams have ended. Each call has a seq of its own.
func Load(t testing.TB, conn driver.Conn, start time.Time, rows []Flow, seq uint64) {
	t.Helper()
	byProbe := map[string][]Flow{}
	for _, r := range rows {
		name := cmp.Or(r.probe, "p1")
		byProbe[name] = append(byProbe[name], r)
	}
	for _, probe := range slices.Sorted(maps.Keys(byProbe)) {
		loadProbe(t, conn, probe, start, byProbe[probe], seq)
	}
}

func loadProbe(t testing.TB, conn driver.Conn, probe string, start time.Time, rows []Flow, seq uint64) {
	t.Helper()
	ctx := context.Background()
	extra := map[string]bool{}
	for _, r := range rows {
		for name := range r.columns {
			extra[name] = name != "unasked"
		}
	}
	maps.DeleteFunc(extra, func(_ string, column bool) bool { return !column })
	others := slices.Sorted(maps.Keys(extra))
	types, err := columnTypes(ctx, conn, others)
	if err != nil {
		t.Fatal(err)
	}
	columns := append([]string{"probe", "epoch", "seq", "row", "received", "src_ip", "dst_ip", "src_port", "dst_port", "protocol", "initiator_guessed",
		"start", "end", "end_reason", "flow_id", "segment", "src_packets", "dst_packets", "src_bytes", "dst_bytes", "src_payload_bytes", "dst_payload_bytes",
		"src_tcp_flags", "dst_tcp_flags", "conn_state", "src_ttl", "app", "tls_sni"}, others...)
	batch, err := conn.PrepareBatch(ctx, "INSERT INTO flows ("+strings.Join(columns, ", ")+")")
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().UTC()
	minutes := map[uint32]uint32{}
	seconds := map[int64]uint64{}
	latest := start
	for i, r := range rows {
		begin := start.Add(r.at)
		state, flagsSrc, flagsDst := r.state, uint8(0), uint8(0)
		if r.proto == 6 {
			flagsSrc, flagsDst = tcpFlags(state)
		} else if r.in == 0 {
			state = "S0"
		}
		answered := r.in > 0 || r.proto == 6 && flagsDst != 0
		sp, dp := 1+r.out/1400, uint64(0)
		if r.columns["unasked"] == "true" {
			sp = 0
		}
		if answered {
			dp = 1 + r.in/1400
		}
		values := []any{probe, uint64(7), seq, uint32(i), now, flow.AddrFrom(r.src).String(), flow.AddrFrom(r.dst).String(), r.sport, r.port, r.proto, r.guessed,
			begin, begin.Add(r.took), cmp.Or(r.reason, "idle"), r.id + seq<<32, r.segment, sp, dp, r.out + 40*sp, r.in + 40*dp, r.out, r.in,
			flagsSrc, flagsDst, state, r.ttl, r.app, r.sni}
		for _, name := range others {
			v, err := typed(types[name], r.columns[name])
			if err != nil {
				t.Fatalf("column %s: %v", name, err)
			}
			values = append(values, v)
		}
		if err := batch.Append(values...); err != nil {
			t.Fatal(err)
		}
		minutes[uint32(begin.Unix()/60)]++
		seconds[begin.Unix()] += sp + dp
		if begin.After(latest) {
			latest = begin
		}
	}
	if err := batch.Send(); err != nil {
		t.Fatal(err)
	}
	var minute, count []uint32
	for _, m := range slices.Sorted(maps.Keys(minutes)) {
		minute, count = append(minute, m), append(count, minutes[m])
	}
	var second []time.Time
	var packets []uint64
	for _, s := range slices.Sorted(maps.Keys(seconds)) {
		second, packets = append(second, time.Unix(s, 0).UTC()), append(packets, seconds[s])
	}
	promise, err := conn.PrepareBatch(ctx, `INSERT INTO batches (probe, epoch, worker, seq, topic, kafka_offset, received, stored, status, rows, minutes, minute_rows,
		watermark, end_of_stream, ledger_second, seen_packets, seen_frame_bytes, flow_packets, flow_frame_bytes, flows_started, flows_ended, records)`)
	if err != nil {
		t.Fatal(err)
	}
	if err := promise.Append(probe, uint64(7), uint16(0), seq, "flows.v1", int64(seq), now, now, "stored", uint32(len(rows)), minute, count,
		latest, true, second, packets, packets, packets, packets, packets, packets, packets); err != nil {
		t.Fatal(err)
	}
	if err := promise.Send(); err != nil {
		t.Fatal(err)
	}
}

// columnTypes asks what flows has.
func columnTypes(ctx context.Context, conn driver.Conn, names []string) (map[string]string, error) {
	types := map[string]string{}
	rows, err := conn.Query(ctx, "SELECT name, type FROM system.columns WHERE database = currentDatabase() AND table = 'flows'")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var name, kind string
		if err := rows.Scan(&name, &kind); err != nil {
			return nil, err
		}
		types[name] = kind
	}
	for _, name := range names {
		if types[name] == "" {
			return nil, fmt.Errorf("%s: not a column of flows", name)
		}
	}
	return types, rows.Err()
}

// typed reads text as a value of a column's type, as batches want it. Empty is
// the type's zero.
func typed(kind, text string) (any, error) {
	kind = strings.ReplaceAll(strings.ReplaceAll(kind, "LowCardinality(", ""), ")", "")
	element, list := strings.CutPrefix(kind, "Array(")
	var parts []string
	if list && text != "" {
		parts = strings.Split(text, ",")
	} else if !list {
		parts = []string{text}
	}
	one, ok := map[string]func([]string, bool) (any, error){
		"String": values(func(s string) (string, error) { return s, nil }), "IPv6": values(func(s string) (string, error) { return s, nil }),
		"Bool":  values(func(s string) (bool, error) { return s == "true", nil }),
		"UInt8": values(unsigned[uint8]), "UInt16": values(unsigned[uint16]), "UInt32": values(unsigned[uint32]), "UInt64": values(unsigned[uint64]),
		"Int8": values(signed[int8]), "Int16": values(signed[int16]), "Int32": values(signed[int32]), "Int64": values(signed[int64]),
		"Float32": values(func(s string) (float32, error) {
			f, err := strconv.ParseFloat(cmp.Or(s, "0"), 32)
			return float32(f), err
		}),
		"Float64": values(func(s string) (float64, error) { return strconv.ParseFloat(cmp.Or(s, "0"), 64) }),
	}[element]
	if !ok && strings.HasPrefix(element, "DateTime") {
		one = values(func(s string) (time.Time, error) { return time.Parse(time.RFC3339, cmp.Or(s, "1970-01-01T00:00:00Z")) })
	} else if !ok {
		return nil, fmt.Errorf("no way to write a %s", kind)
	}
	return one(parts, list)
}

func values[T any](parse func(string) (T, error)) func([]string, bool) (any, error) {
	return func(parts []string, list bool) (any, error) {
		out := make([]T, len(parts))
		for i, p := range parts {
			v, err := parse(p)
			if err != nil {
				return nil, err
			}
			out[i] = v
		}
		if list {
			return out, nil
		}
		return out[0], nil
	}
}

func unsigned[T uint8 | uint16 | uint32 | uint64](s string) (T, error) {
	n, err := strconv.ParseUint(cmp.Or(s, "0"), 10, 64)
	return T(n), err
}

func signed[T int8 | int16 | int32 | int64](s string) (T, error) {
	n, err := strconv.ParseInt(cmp.Or(s, "0"), 10, 64)
	return T(n), err
}
