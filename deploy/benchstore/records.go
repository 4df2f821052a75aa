package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"reflect"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// fieldsOf gives, for each column of flow.ColumnNames, the index of the Record's
// field, or -1: community_hash follows from the key. Both are in the order of flow.proto.
func fieldsOf() ([]int, error) {
	t := reflect.TypeFor[flow.Record]()
	var list []int
	next := 0
	for _, name := range flow.ColumnNames() {
		if name == "community_hash" {
			list = append(list, -1)
			continue
		}
		if next >= t.NumField() {
			return nil, fmt.Errorf("flow.Record has no field for column %s", name)
		}
		list = append(list, next)
		next++
	}
	if next != t.NumField() {
		return nil, fmt.Errorf("flow.Record has %d fields, its columns are %d", t.NumField(), next)
	}
	return list, nil
}

// valuesOf maps the names of an enumeration back to its values.
func valuesOf[T interface {
	~uint8
	String() string
}]() map[string]T {
	m := map[string]T{}
	for v := 255; v >= 0; v-- {
		if name := T(v).String(); name != "" || v == 0 {
			m[name] = T(v)
		}
	}
	return m
}

// readRecords reads flows back as records: those of one probe, in the order in
// which it would have sent them, which is that of their ends.
func readRecords(ctx context.Context, db driver.Conn, n int) ([]flow.Record, error) {
	fields, err := fieldsOf()
	if err != nil {
		return nil, err
	}
	rows, err := db.Query(ctx, "SELECT "+strings.Join(flow.ColumnNames(), ", ")+` FROM
		(SELECT * FROM flows WHERE toDate(start) = (SELECT min(toDate(start)) FROM flows) AND probe = 'probe-0' ORDER BY end LIMIT ?)`, n)
	if err != nil {
		return nil, fmt.Errorf("read flows: %w", err)
	}
	defer rows.Close()
	tunnels, ends, states, sources := valuesOf[flow.Tunnel](), valuesOf[flow.EndReason](), valuesOf[flow.ConnState](), valuesOf[flow.AppSource]()
	var list []flow.Record
	for rows.Next() {
		var r flow.Record
		record := reflect.ValueOf(&r).Elem()
		dest := make([]any, len(fields))
		var after []func()
		for i, at := range fields {
			if at < 0 {
				dest[i] = new(uint64)
				continue
			}
			f := record.Field(at)
			later := func(scan any, set func()) { dest[i], after = scan, append(after, set) }
			switch to := f.Addr().Interface().(type) {
			case *flow.Addr:
				ip := new(net.IP)
				later(ip, func() { copy(to[:], ip.To16()) })
			case *flow.Tunnel:
				s := new(string)
				later(s, func() { *to = tunnels[*s] })
			case *flow.EndReason:
				s := new(string)
				later(s, func() { *to = ends[*s] })
			case *flow.ConnState:
				s := new(string)
				later(s, func() { *to = states[*s] })
			case *flow.AppSource:
				s := new(string)
				later(s, func() { *to = sources[*s] })
			case *int64:
				t := new(time.Time)
				later(t, func() { *to = t.UnixNano() })
			case *flow.MAC:
				dest[i] = (*uint64)(to)
			case *flow.Risk:
				dest[i] = (*uint64)(to)
			default:
				dest[i] = to
			}
		}
		if err := rows.Scan(dest...); err != nil {
			return nil, fmt.Errorf("read flows: %w", err)
		}
		for _, set := range after {
			set()
		}
		list = append(list, r)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read flows: %w", err)
	}
	if len(list) == 0 {
		return nil, errors.New("read flows: none of probe-0")
	}
	return list, nil
}
