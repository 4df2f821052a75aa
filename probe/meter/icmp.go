package meter

import "github.com/tapwatch/tapwatch/probe/decode"

// quote ties the ICMP error p to the flow of the packet that it quotes: one
// with its key, in the VLAN and tunnel in which the error came. An error about
// a flow that is not open tells nothing that its own flow does not.
func (t *Table) quote(p *decode.Packet) {
	q := &t.quoted
	q.VLAN, q.VLANInner, q.Tunnel, q.TunnelID = p.VLAN, p.VLANInner, p.Tunnel, p.TunnelID
	q.Src, q.Dst, q.SrcPort, q.DstPort = p.Quoted.Src, p.Quoted.Dst, p.Quoted.SrcPort, p.Quoted.DstPort
	q.Protocol, q.ICMPID = p.Quoted.Protocol, p.Quoted.ICMPID
	var k key
	makeKey(&k, q, t.vlan)
	r := t.index.find(&t.entries, &k, t.hash.sum(&k))
	if r == 0 {
		return
	}
	e := t.entries.at(r)
	if e.dormant || t.expired(e) {
		return
	}
	if e.talk == 0 {
		if e.onlySYN() {
			t.connect(e)
		}
		t.expand(e)
	}
	s := t.talks.at(e.talk)
	s.icmpErrs++
	s.icmpErr = p.SrcPort<<8 | p.DstPort&0xff
}

// Quote takes an ICMP error whose own flow is in another table: the flow that it
// quotes learns of it, and nothing is counted.
func (t *Table) Quote(p *decode.Packet) {
	t.tick(p.Time)
	if p.Quoted.Protocol != 0 {
		t.quote(p)
	}
}
