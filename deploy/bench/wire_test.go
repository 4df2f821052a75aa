package main

import (
	"net/netip"
	"reflect"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// A comparison is fair when the message per flow carries every field that is
// set, and no other.
func TestAppendFlow(t *testing.T) {
	full := reflect.New(reflect.TypeFor[flow.Record]()).Elem()
	for i := range full.NumField() {
		switch f := full.Field(i); f.Kind() {
		case reflect.String:
			f.SetString("x")
		case reflect.Bool:
			f.SetBool(true)
		case reflect.Int64:
			f.SetInt(int64(i))
		case reflect.Float32:
			f.SetFloat(1)
		case reflect.Slice:
			f.Set(reflect.MakeSlice(f.Type(), 2, 2))
		case reflect.Array:
			f.Set(reflect.ValueOf(flow.AddrFrom(netip.MustParseAddr("192.0.2.1"))))
		default:
			f.SetUint(1)
		}
	}
	r := full.Interface().(flow.Record)
	got := map[protowire.Number]int{}
	for b := appendFlow(nil, &r); len(b) > 0; {
		number, _, n := protowire.ConsumeField(b)
		if n < 0 {
			t.Fatal(protowire.ParseError(n))
		}
		got[number]++
		b = b[n:]
	}
	for i := range full.NumField() {
		name, want := full.Type().Field(i).Name, 1
		if full.Field(i).Type() == reflect.TypeFor[[]string]() {
			want = 2
		}
		if got[protowire.Number(i+1)] != want {
			t.Errorf("field %s: %d times, want %d", name, got[protowire.Number(i+1)], want)
		}
	}
	if b := appendFlow(nil, &flow.Record{}); len(b) != 0 {
		t.Errorf("an empty record takes %d octets", len(b))
	}
}
