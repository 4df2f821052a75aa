package query

import (
	"strings"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// Kind is what the values of a column are.
type Kind uint8

const (
	Number  Kind = iota // integer
	Float               // number with decimals
	Text                // string
	Address             // IPv4 or IPv6 address
	MAC                 // hardware address
	Moment              // time
	Flag                // true or false
	Set                 // members of a fixed list, a bit each
	Hash                // Community ID
)

var kindNames = [...]string{"number", "decimal", "text", "address", "MAC address", "time", "true or false", "set", "Community ID"}

func (k Kind) String() string { return kindNames[k] }

// Unit is what a number counts, and so which suffixes its values may have.
type Unit uint8

const (
	Plain        Unit = iota // no suffix: ports, identifiers
	Count                    // k, M, G
	Bytes                    // B, kB, MB, GB, TB, KiB, MiB, GiB, TiB
	Microseconds             // ns, us, ms, s, m, h, d; without suffix microseconds
	Nanoseconds              // the same, the suffix is required
	UnixSeconds              // a time, or seconds since 1970
)

var unitNames = [...]string{"", "count", "bytes", "microseconds", "length of time", "time"}

func (u Unit) String() string { return unitNames[u] }

// Column is something a condition can be about.
type Column struct {
	Name string
	Doc  string // for people; empty: as in flow.proto
	Kind Kind
	List bool // many values
	Unit Unit
	// Names are the names of numbers, or the members of a set: name and number.
	Names []Name
	// Values are all values that a text can have, nil where any can occur.
	Values []string
	// Usual are values worth proposing where any can occur.
	Usual []string

	sql    string // ClickHouse type of one value
	from   string // expression; empty: the column of that name
	signed bool
	bits   int  // of a Number or Set
	width  int  // octets in memory, about
	rollup bool // the rollups have it, too
	lookup *lookup
}

// Name is a name of a number.
type Name struct {
	Name   string
	Number uint64
}

// identity are the columns of `flows` before the record: where a row is from,
// and what it was enriched with.
var identity = []struct{ name, sql, doc string }{
	{"probe", "String", "name of the probe"},
	{"site", "String", "name of the site, as the probe was told"},
	{"epoch", "UInt64", "life of the probe, a random number"},
	{"worker", "UInt16", "capture worker of the probe"},
	{"seq", "UInt64", "number of the batch"},
	{"row", "UInt32", "number of the row in its batch"},
	{"kafka_partition", "Int32", "where the batch came from"},
	{"kafka_offset", "Int64", "where the batch came from"},
	{"received", "DateTime64(3, 'UTC')", "when Kafka took the batch"},
	{"enrichment", "UInt64", "version of the data the row was enriched with, 0: never"},
	{"src_asn", "UInt32", "autonomous system of the initiator, 0 unknown"},
	{"dst_asn", "UInt32", "autonomous system of the responder, 0 unknown"},
	{"src_country", "String", "country of the initiator, two letters (ISO 3166-1)"},
	{"dst_country", "String", "country of the responder"},
	{"src_city", "String", "city of the initiator, in English"},
	{"dst_city", "String", "city of the responder"},
	{"src_network", "String", "name of the own network the initiator is in"},
	{"dst_network", "String", "name of the own network the responder is in"},
	{"src_role", "String", "role of that network"},
	{"dst_role", "String", "role of that network"},
	{"threats", "Array(String)", "threat lists that the flow is on"},
}

// sums are columns that are made of others.
var sums = []struct {
	name, sql, from, doc string
	unit                 Unit
}{
	{"packets", "UInt64", "(`src_packets` + `dst_packets`)", "src_packets + dst_packets", Count},
	{"bytes", "UInt64", "(`src_bytes` + `dst_bytes`)", "src_bytes + dst_bytes", Bytes},
	{"frame_bytes", "UInt64", "(`src_frame_bytes` + `dst_frame_bytes`)", "src_frame_bytes + dst_frame_bytes", Bytes},
	{"payload_bytes", "UInt64", "(`src_payload_bytes` + `dst_payload_bytes`)", "src_payload_bytes + dst_payload_bytes", Bytes},
	{"duration", "Int64", "(toUnixTimestamp64Nano(`end`) - toUnixTimestamp64Nano(`start`))", "end - start", Nanoseconds},
}

// inRollup are the columns that the rollups keep apart.
var inRollup = map[string]bool{"probe": true, "site": true, "src_ip": true, "dst_ip": true, "dst_port": true, "protocol": true, "app": true}

// registry makes all columns: the record's, then the sums, then the identity.
func registry() []*Column {
	var list []*Column
	for i, name := range flow.ColumnNames() {
		c := newColumn(name, flow.ColumnType(i))
		if name == "community_hash" {
			c.Name, c.from, c.Kind = "community_id", "`community_hash`", Hash
			c.Doc = "Community ID v1 of the flow, 1:…"
		}
		list = append(list, c)
	}
	for _, s := range sums {
		c := newColumn(s.name, s.sql)
		c.from, c.Doc, c.Unit = s.from, s.doc, s.unit
		list = append(list, c)
	}
	for _, s := range identity {
		c := newColumn(s.name, s.sql)
		c.Doc = s.doc
		list = append(list, c)
	}
	return list
}

func newColumn(name, sql string) *Column {
	c := &Column{Name: name, rollup: inRollup[name], width: widthOf(sql)}
	if inner, ok := strings.CutPrefix(sql, "Array("); ok {
		c.List, sql = true, strings.TrimSuffix(inner, ")")
	}
	if inner, ok := strings.CutPrefix(sql, "LowCardinality("); ok {
		sql = strings.TrimSuffix(inner, ")")
	}
	c.sql = sql
	c.Kind, c.bits, c.signed = kindOf(sql)
	c.Unit = unitOf(c)
	switch name {
	case "src_mac", "dst_mac":
		c.Kind = MAC
	case "risks", "cut", "src_tcp_flags", "dst_tcp_flags":
		c.Kind = Set
	}
	c.Names, c.Values, c.Usual = namesOf(name)
	return c
}

func kindOf(sql string) (k Kind, bits int, signed bool) {
	switch sql {
	case "UInt8", "Int8":
		bits = 8
	case "UInt16", "Int16":
		bits = 16
	case "UInt32", "Int32":
		bits = 32
	case "UInt64", "Int64":
		bits = 64
	case "Float32", "Float64":
		return Float, 0, true
	case "IPv6":
		return Address, 0, false
	case "Bool":
		return Flag, 0, false
	}
	switch {
	case bits > 0:
		return Number, bits, sql[0] == 'I'
	case strings.HasPrefix(sql, "DateTime"):
		return Moment, 0, false
	}
	return Text, 0, false
}

func unitOf(c *Column) Unit {
	switch {
	case c.Kind != Number:
		return Plain
	case strings.HasSuffix(c.Name, "_us"):
		return Microseconds
	case strings.HasSuffix(c.Name, "_bytes"), strings.Contains(c.Name, "_size_m"), c.Name == "first_sizes":
		return Bytes
	case c.Name == "tls_cert_not_before", c.Name == "tls_cert_not_after":
		return UnixSeconds
	}
	for _, part := range []string{"packets", "retransmits", "out_of_order", "zero_windows", "errors", "transactions", "size_bins", "flows", "sampling"} {
		if strings.HasSuffix(c.Name, part) {
			return Count
		}
	}
	return Plain
}

// expression is the column in SQL.
func (c *Column) expression() string {
	if c.from != "" {
		return c.from
	}
	return "`" + c.Name + "`"
}

// operators that the column takes, in the order of the documentation.
func (c *Column) operators() []operator {
	var list []operator
	switch {
	case c.lookup != nil:
		return []operator{opEq, opIn, opLike, opILike, opMatch}
	case c.Kind == Text && c.List:
		return []operator{opHas, opContains, opEq, opIn, opLike, opILike, opMatch, opExists}
	case c.Kind == Text:
		return []operator{opEq, opIn, opLike, opILike, opMatch, opContains, opExists}
	case c.Kind == Set:
		return []operator{opHas, opEq, opIn, opExists}
	case c.Kind == Flag:
		return []operator{opEq, opExists}
	case c.List:
		list = []operator{opHas, opContains}
	}
	list = append(list, opEq)
	if c.Kind == Number || c.Kind == Float || c.Kind == Moment {
		list = append(list, opLt, opLe, opGt, opGe)
	}
	return append(list, opIn, opExists)
}
