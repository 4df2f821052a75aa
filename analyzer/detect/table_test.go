package detect_test

import (
	"bufio"
	"context"
	"fmt"
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

func TestMain(m *testing.M) { localtest.Main(m) }

// flowRow is one line of a scenario's flow table after its generator has run.
type flowRow struct {
	at, took         time.Duration // since the scenario's start
	src, dst         netip.Addr
	sport, port      uint16
	proto            uint8
	state            string
	out, in          uint64 // payload
	sni, app, reason string
	guessed          bool
	segment          uint32
	ttl              uint8
	id               uint64
}

// parseFlows reads a flow table: first "start RFC3339", then one generator a
// line, as words of name=value:
//
//	at=+90s        of the first flow (default 0)
//	n=20 every=1s  how many, and how far apart
//	jitter=2s      each up to that much later (seeded), poisson=true: exponential gaps of mean every
//	src= dst= sport= port= proto=tcp|udp|icmp state=S0|REJ|SF|…
//	out= in=       payload bytes of the initiator and the responder; outvar= percent of change (seeded)
//	took=  sni= app= guessed=true segment= reason= ttl=
//
// In any value {i} is the number of the repetition, and {i%250+1} reckons from
// left to right.
func parseFlows(text string) (start time.Time, rows []flowRow, err error) {
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
			r := flowRow{state: get("state"), sni: get("sni"), app: get("app"), reason: get("reason"), guessed: get("guessed") == "true", id: uint64(len(rows) + 1)}
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
			r.proto = map[string]uint8{"icmp": 1, "tcp": 6, "udp": 17, "sctp": 132}[get("proto")]
			r.port, r.sport = uint16(integer(get("port"), 0)), uint16(integer(get("sport"), 40000+i%20000))
			r.out, r.in = uint64(integer(get("out"), 0)), uint64(integer(get("in"), 0))
			if percent := integer(value["outvar"], 0); percent > 0 {
				r.out = uint64(float64(r.out) * (1 + float64(percent)/100*(2*random.Float64()-1)))
			}
			r.segment, r.ttl = uint32(integer(get("segment"), 0)), uint8(integer(get("ttl"), 64))
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

// load stores rows as the collector would: flows, and the batch that promises
// them, from one probe whose stream has ended.
func load(t testing.TB, conn driver.Conn, start time.Time, rows []flowRow, seq uint64) {
	t.Helper()
	ctx := context.Background()
	batch, err := conn.PrepareBatch(ctx, `INSERT INTO flows (probe, epoch, seq, row, received, src_ip, dst_ip, src_port, dst_port, protocol, initiator_guessed,
		start, end, end_reason, flow_id, segment, src_packets, dst_packets, src_bytes, dst_bytes, src_payload_bytes, dst_payload_bytes,
		src_tcp_flags, dst_tcp_flags, conn_state, src_ttl, app, tls_sni)`)
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
		if answered {
			dp = 1 + r.in/1400
		}
		reason := r.reason
		if reason == "" {
			reason = "idle"
		}
		err := batch.Append("p1", uint64(7), seq, uint32(i), now, flow.AddrFrom(r.src).String(), flow.AddrFrom(r.dst).String(), r.sport, r.port, r.proto, r.guessed,
			begin, begin.Add(r.took), reason, r.id+seq<<32, r.segment, sp, dp, r.out+40*sp, r.in+40*dp, r.out, r.in,
			flagsSrc, flagsDst, state, r.ttl, r.app, r.sni)
		if err != nil {
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
	for m := range minutes {
		minute = append(minute, m)
	}
	slices.Sort(minute)
	for _, m := range minute {
		count = append(count, minutes[m])
	}
	var second []time.Time
	var packets []uint64
	for s, n := range seconds {
		second, packets = append(second, time.Unix(s, 0).UTC()), append(packets, n)
	}
	promise, err := conn.PrepareBatch(ctx, `INSERT INTO batches (probe, epoch, worker, seq, topic, kafka_offset, received, stored, status, rows, minutes, minute_rows,
		watermark, end_of_stream, ledger_second, seen_packets, seen_frame_bytes, flow_packets, flow_frame_bytes, flows_started, flows_ended, records)`)
	if err != nil {
		t.Fatal(err)
	}
	if err := promise.Append("p1", uint64(7), uint16(0), seq, "flows.v1", int64(seq), now, now, "stored", uint32(len(rows)), minute, count,
		latest, true, second, packets, packets, packets, packets, packets, packets, packets); err != nil {
		t.Fatal(err)
	}
	if err := promise.Send(); err != nil {
		t.Fatal(err)
	}
}
