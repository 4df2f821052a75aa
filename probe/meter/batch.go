package meter

import "github.com/tapwatch/tapwatch/probe/decode"

// ObserveAll counts the packets of a block, in order, as ObserveOn does one
// after the other, and quicker: what is known of their flows is fetched from
// memory for many packets at once. Every payload must stay valid until it
// returns; neither packets nor payloads are kept. A few dozen packets at a
// time are enough.
func (t *Table) ObserveAll(packets []decode.Packet, iface string) {
	for i := range packets {
		t.ObserveOn(&packets[i], iface)
	}
}
