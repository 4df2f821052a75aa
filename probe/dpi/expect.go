package dpi

import "github.com/tapwatch/tapwatch/proto/flow"

// expectations are connections that another flow has announced, as FTP does its
// data and TFTP its answers. There are few, so they are searched from end to
// end; the oldest give way. They are known to one Inspector only: what another
// worker sees is not expected there.
type expectations struct {
	all  [64]expectation
	next uint8
	n    uint8 // how many of all have been announced
}

type expectation struct {
	addr  flow.Addr // where the connection goes to
	port  uint16
	proto uint8
	until int64 // ns
	app   string
}

// expectFor is how long an announced connection may take to come, ns of traffic time.
const expectFor = 60e9

func (x *expectations) add(e expectation) {
	for i := range x.all { // said again
		if o := &x.all[i]; o.port == e.port && o.proto == e.proto && o.addr == e.addr {
			*o = e
			return
		}
	}
	x.all[x.next%uint8(len(x.all))] = e
	x.next++
	x.n = min(x.n+1, uint8(len(x.all)))
}

// app names what was announced for the record's flow; "" is nothing.
func (x *expectations) app(proto uint8, rec *flow.Record) string {
	for i := range x.all[:x.n] {
		e := &x.all[i]
		if e.proto == proto && (e.port == rec.DstPort && e.addr == rec.DstIP || e.port == rec.SrcPort && e.addr == rec.SrcIP) && rec.Start <= e.until {
			return e.app
		}
	}
	return ""
}
