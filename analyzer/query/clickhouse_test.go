package query

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/tapwatch/tapwatch/proto/flow"
	"github.com/tapwatch/tapwatch/proto/local/localtest"
	"github.com/tapwatch/tapwatch/proto/table"
)

// rig is a database of its own with all tables.
type rig struct {
	t    testing.TB
	conn driver.Conn
	http string
	lang *Language
}

func newRig(t testing.TB, name string) *rig {
	t.Helper()
	server := localtest.TestClickHouse(t)
	conn := localtest.Database(t, name)
	if err := table.Migrate(t.Context(), conn); err != nil {
		t.Fatal(err)
	}
	return &rig{t: t, conn: conn, lang: New(), http: "http://" + server.HTTPAddr() + "/?database=" + name}
}

func (r *rig) insert(table string, rows []map[string]any) {
	r.t.Helper()
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	for _, row := range rows {
		if err := e.Encode(row); err != nil {
			r.t.Fatal(err)
		}
	}
	q := "INSERT INTO " + table + " SETTINGS async_insert = 0, date_time_input_format = 'best_effort' FORMAT JSONEachRow"
	resp, err := http.Post(r.http+"&query="+url.QueryEscape(q), "application/json", &b)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	if text, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusOK {
		r.t.Fatalf("insert into %s: %s", table, text)
	}
}

func (r *rig) exec(sql string) { r.t.Helper(); localtest.Exec(r.t, r.conn, sql) }

// stored is a record as a row of flows.
func stored(r *flow.Record, probe, site string) map[string]any {
	row := map[string]any{}
	d := json.NewDecoder(bytes.NewReader(r.AppendJSON(nil)))
	d.UseNumber()
	if err := d.Decode(&row); err != nil {
		panic(err)
	}
	delete(row, "community_id")
	row["community_hash"] = flow.CommunityHash(r.SrcIP, r.DstIP, r.SrcPort, r.DstPort, r.Protocol)
	row["risks"], row["src_mac"], row["dst_mac"] = uint64(r.Risks), uint64(r.SrcMAC), uint64(r.DstMAC)
	for name, a := range map[string]flow.Addr{"src_ip": r.SrcIP, "dst_ip": r.DstIP, "outer_src_ip": r.OuterSrcIP, "outer_dst_ip": r.OuterDstIP} {
		row[name] = netip.AddrFrom16(a).String()
	}
	row["probe"], row["site"], row["received"] = probe, site, time.Now().UTC().Format("2006-01-02 15:04:05")
	return row
}

// counts asks ClickHouse how many flows pass each of the filters, many in one
// statement.
func (r *rig) counts(filters []*Filter) ([]uint64, error) {
	var all []uint64
	for len(filters) > 0 {
		n := min(len(filters), 40)
		p := Params{}
		var terms []string
		for _, f := range filters[:n] {
			from, to := f.Range()
			term := f.Where(p, Span{from, to})
			if !from.IsZero() {
				term = "start >= " + p.add(momentType, stamp(from)) + " AND (" + term + ")"
			}
			if !to.IsZero() {
				term = "start < " + p.add(momentType, stamp(to)) + " AND (" + term + ")"
			}
			terms = append(terms, "countIf("+term+")")
		}
		ctx := clickhouse.Context(r.t.Context(), clickhouse.WithParameters(clickhouse.Parameters(p)), clickhouse.WithSettings(clickhouse.Settings{"readonly": 1}))
		var got []uint64
		if err := r.conn.QueryRow(ctx, "SELECT ["+strings.Join(terms, ",\n")+"] FROM flows").Scan(&got); err != nil {
			if n == 1 {
				return all, err
			}
			for _, f := range filters[:n] { // which one?
				if one, err := r.counts([]*Filter{f}); err != nil {
					return all, err
				} else {
					got = append(got, one...)
				}
			}
		}
		all = append(all, got...)
		filters = filters[n:]
	}
	return all, nil
}

// texts are what random texts are drawn from: few, so that filters meet them,
// and awkward.
var texts = []string{"", "a", "dns", "tls", "www.example.org", "mail.example.org", "example.ru", "x_y", "xzy", "100%", `it's`, `back\slash`, "tab\there", "line\nbreak", "ÄÖ", "äö", "😀", "NULL", "' OR 1=1 --"}

func pick[T any](rng *rand.Rand, list []T) T { return list[rng.IntN(len(list))] }

// randomRecord fills every field, mostly with values that others have, too.
func randomRecord(rng *rand.Rand) *flow.Record {
	r := &flow.Record{}
	v := reflect.ValueOf(r).Elem()
	for i := range v.NumField() {
		if rng.IntN(4) == 0 {
			continue
		}
		randomField(rng, v.Field(i))
	}
	r.Start = testNow.Add(-time.Duration(rng.Int64N(int64(96 * time.Hour)))).UnixNano()
	r.End = r.Start + rng.Int64N(int64(10*time.Second))
	r.ConnState, r.Tunnel, r.AppSource = flow.ConnState(rng.IntN(14)), flow.Tunnel(rng.IntN(12)), flow.AppSource(rng.IntN(4))
	r.EndReason = flow.EndReason(pick(rng, []int{0, 1, 2, 3, 4, 5, 64}))
	r.Protocol = uint8(pick(rng, []int{1, 6, 17, 58}))
	r.SrcMAC, r.DstMAC = flow.MAC(randomMAC(rng)), flow.MAC(randomMAC(rng))
	return r
}

func randomMAC(rng *rand.Rand) uint64 {
	return 0x001b21000000 | uint64(rng.IntN(4))<<24 | uint64(rng.IntN(3))
}

func randomAddr(rng *rand.Rand) netip.Addr {
	if rng.IntN(4) == 0 {
		return netip.MustParseAddr(fmt.Sprintf("2001:db8:%x::%x", rng.IntN(3), rng.IntN(3)))
	}
	return netip.AddrFrom4([4]byte{10, byte(rng.IntN(3)), 0, byte(rng.IntN(4))})
}

func randomField(rng *rand.Rand, f reflect.Value) {
	if a, ok := f.Addr().Interface().(*flow.Addr); ok {
		*a = flow.AddrFrom(randomAddr(rng))
		return
	}
	switch f.Kind() {
	case reflect.String:
		f.SetString(pick(rng, texts))
	case reflect.Bool:
		f.SetBool(rng.IntN(2) == 0)
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		n := uint64(rng.IntN(6))
		if rng.IntN(4) == 0 {
			n = rng.Uint64() >> (64 - f.Type().Bits())
			if f.Type().Bits() == 64 {
				n >>= 12 // sums of both directions do not overflow
			}
		}
		f.SetUint(n)
	case reflect.Int32, reflect.Int64:
		f.SetInt(int64(rng.IntN(3000) - 1500))
	case reflect.Float32:
		f.SetFloat(float64(float32(rng.IntN(32)) / 4))
	case reflect.Slice:
		for range rng.IntN(3) {
			e := reflect.New(f.Type().Elem()).Elem()
			randomField(rng, e)
			f.Set(reflect.Append(f, e))
		}
	}
}

// randomFilter writes a filter as a person would, of any column and operator.
func randomFilter(rng *rand.Rand, l *Language, depth int) string {
	switch n := rng.IntN(10); {
	case depth > 0 && n < 2:
		return "(" + randomFilter(rng, l, depth-1) + " or " + randomFilter(rng, l, depth-1) + ")"
	case depth > 0 && n < 4:
		return randomFilter(rng, l, depth-1) + " and " + randomFilter(rng, l, depth-1)
	case depth > 0 && n < 5:
		return "not (" + randomFilter(rng, l, depth-1) + ")"
	case n == 9 && rng.IntN(2) == 0:
		return pick(rng, []string{"last 2d", "since 2026-11-02", "until 2026-11-02T07:00", "between 2026-11-01 and 2026-11-03T01:00", "today", "yesterday"})
	}
	if rng.IntN(4) == 0 {
		return randomCondition(rng, pick(rng, []string{"host", "port", "mac", "name", "risk"}), l)
	}
	for {
		c := pick(rng, l.columns)
		if _, known := rowOf(l, &flow.Record{}, "", "")[c.Name]; known {
			return randomCondition(rng, c.Name, l)
		}
	}
}

func randomCondition(rng *rand.Rand, name string, l *Language) string {
	col := l.byName[name]
	if w := l.byWord[name]; w != nil && col == nil {
		col = w.columns[0]
	}
	op := pick(rng, col.operators())
	not := pick(rng, []string{"", "", "not "})
	value := func() string { return randomValue(rng, col) }
	switch op {
	case opExists:
		return name + " exists"
	case opEq:
		return name + pick(rng, []string{" = ", " != "}) + value()
	case opLike, opILike:
		return name + " " + not + op.String() + " " + Quote(pick(rng, []string{"%", "", "a%", "%.org", "%example%", "_ns", "x\\_y", "100\\%", "%'%", "back\\\\slash", "%ö", "d%s", "_", "%\n%"}))
	case opMatch:
		return name + pick(rng, []string{" ~ ", " !~ "}) + Quote(pick(rng, []string{"a", "^d", "org$", "^$", "e.a", "[a-z]+\\.[a-z]+", "(?i)DNS", "\\s", "a|b", "it's", "^.$", "", "\\x{1f600}", "k.s"}))
	case opContains:
		if col.List {
			return name + " contains " + value()
		}
		return name + " " + not + "contains " + Quote(pick(rng, []string{"", "a", "example", "'", "\\", "%", "\n", "ö"}))
	case opHas:
		return name + " has " + value()
	case opIn:
		if rng.IntN(3) == 0 && (col.Kind == Number || col.Kind == Float || col.Kind == Address || col.Kind == MAC) && len(col.Names) == 0 {
			a, b := value(), value()
			if _, err := l.Parse(name+" in "+a+".."+b, testNow); err == nil {
				return name + " " + not + "in " + a + ".." + b
			}
		}
		return name + " " + not + "in (" + value() + ", " + value() + ", " + value() + ")"
	}
	return name + " " + op.String() + " " + value()
}

func randomValue(rng *rand.Rand, c *Column) string {
	switch {
	case c.Kind == Text && c.Values != nil:
		return Quote(pick(rng, c.Values))
	case c.Kind == Text:
		return Quote(pick(rng, append(texts, "p1", "s1")))
	case c.Kind == Set:
		return Quote(pick(rng, c.Names).Name + "|" + pick(rng, c.Names).Name)
	case len(c.Names) > 0 && rng.IntN(2) == 0:
		return pick(rng, c.Names).Name
	case c.Kind == Address:
		return randomAddr(rng).String() + pick(rng, []string{"", "", "/16"})
	case c.Kind == MAC:
		return flow.MAC(randomMAC(rng)).String()
	case c.Kind == Moment:
		return testNow.Add(-time.Duration(rng.IntN(96)) * time.Hour).Format(time.RFC3339)
	case c.Kind == Flag:
		return pick(rng, []string{"true", "false"})
	case c.Kind == Float:
		return strconv.FormatFloat(float64(rng.IntN(32))/4, 'g', -1, 64)
	case c.Kind == Hash:
		return "'" + flow.CommunityID(flow.AddrFrom(randomAddr(rng)), flow.AddrFrom(randomAddr(rng)), uint16(rng.IntN(6)), uint16(rng.IntN(6)), 6) + "'"
	case c.Name == "duration":
		return fmt.Sprint(rng.IntN(10), "s")
	case c.signed:
		return fmt.Sprint(rng.IntN(3000) - 1500)
	}
	return fmt.Sprint(rng.IntN(6))
}

// What ClickHouse counts is what the evaluator counts, for random filters over
// random flows.
func TestClickHouseAgrees(t *testing.T) {
	r := newRig(t, "query_agrees")
	const seed, records = 20261103, 1000
	filters := 400
	if os.Getenv("TAPWATCH_E2E") == "full" {
		filters = 20000
	}
	rng := rand.New(rand.NewPCG(seed, 1))
	var rows []map[string]any
	var known []row
	for range records {
		record := randomRecord(rng)
		probe, site := pick(rng, []string{"p1", "p2", "it's"}), pick(rng, []string{"s1", ""})
		rows = append(rows, stored(record, probe, site))
		known = append(known, rowOf(r.lang, record, probe, site))
	}
	r.insert("flows", rows)
	var list []*Filter
	var written []string
	for i := range filters {
		text := randomFilter(rng, r.lang, 3)
		f, err := r.lang.Parse(text, testNow)
		if err != nil {
			t.Fatalf("filter %d of seed %d: %s: %v", i, seed, text, err)
		}
		list, written = append(list, f), append(written, text)
	}
	counts, err := r.counts(list)
	if err != nil {
		t.Fatalf("filter %d of seed %d: %s: %v", len(counts), seed, written[len(counts)], err)
	}
	some, columns := 0, map[string]bool{}
	for i, f := range list {
		text, got := written[i], counts[i]
		var want uint64
		for _, k := range known {
			if passes(f.whole, k) {
				want++
			}
		}
		if got != want {
			p := Params{}
			t.Errorf("filter %d of seed %d: %s: ClickHouse counts %d, the evaluator %d\n%s", i, seed, text, got, want, show(f.Where(p, Span{}), p))
		}
		if got > 0 && got < records {
			some++
		}
		for _, c := range f.Columns() {
			columns[c.Name] = true
		}
	}
	t.Logf("%d filters over %d columns; %d of them parted the flows", filters, len(columns), some)
	if some < filters/2 {
		t.Errorf("only %d of %d filters part the flows: the test sees too little", some, filters)
	}
}
