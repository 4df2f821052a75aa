package dpi

import (
	"encoding/binary"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// BACnet/IP (ASHRAE 135, annex J).
func bacnetProtocol() protocol {
	return protocol{app: "bacnet", udp: []uint16{47808, 47809}, datagram: looksBACnet, message: (*Inspector).bacnetMessage}
}

var (
	// Services (ASHRAE 135, clause 21).
	bacnetConfirmed = map[byte]string{0: "acknowledgeAlarm", 1: "confirmedCOVNotification", 2: "confirmedEventNotification", 3: "getAlarmSummary",
		4: "getEnrollmentSummary", 5: "subscribeCOV", 6: "atomicReadFile", 7: "atomicWriteFile", 8: "addListElement", 9: "removeListElement", 10: "createObject",
		11: "deleteObject", 12: "readProperty", 13: "readPropertyConditional", 14: "readPropertyMultiple", 15: "writeProperty", 16: "writePropertyMultiple",
		17: "deviceCommunicationControl", 18: "confirmedPrivateTransfer", 19: "confirmedTextMessage", 20: "reinitializeDevice", 21: "vtOpen", 22: "vtClose",
		23: "vtData", 24: "authenticate", 25: "requestKey", 26: "readRange", 27: "lifeSafetyOperation", 28: "subscribeCOVProperty", 29: "getEventInformation"}
	bacnetUnconfirmed = map[byte]string{0: "i-Am", 1: "i-Have", 2: "unconfirmedCOVNotification", 3: "unconfirmedEventNotification", 4: "unconfirmedPrivateTransfer",
		5: "unconfirmedTextMessage", 6: "timeSynchronization", 7: "who-Has", 8: "who-Is", 9: "utcTimeSynchronization", 10: "writeGroup"}
)

// looksBACnet wants the type, a function and the datagram's length.
func looksBACnet(b []byte, h *hint) bool {
	return len(b) >= 4 && b[0] == 0x81 && b[1] <= 0x0c && int(binary.BigEndian.Uint16(b[2:])) == len(b) && (h.onPort || len(b) > 6 && b[4] == 1)
}

func (in *Inspector) bacnetMessage(st *State, _ side, b []byte, rec *flow.Record, _ int64) {
	if !looksBACnet(b, &hint{onPort: true}) {
		in.malformed(rec)
		return
	}
	r := reader{b: b[4:]}
	if b[1] == 4 { // forwarded: an address first
		r.take(6)
	}
	if b[1] != 4 && b[1] != 9 && b[1] != 10 && b[1] != 11 {
		return
	}
	r.u8() // version of the network layer
	control := r.u8()
	if control&0x20 != 0 { // destination
		r.u16()
		r.take(r.u8())
	}
	if control&0x08 != 0 { // source
		r.u16()
		r.take(r.u8())
	}
	if control&0x20 != 0 {
		r.u8() // hops
	}
	if control&0x80 != 0 || r.bad || len(r.b) < 2 { // a message of the network layer
		return
	}
	switch apdu := r.b; apdu[0] >> 4 {
	case 0: // confirmed request: segmentation and size, invoke id
		at := 3
		if apdu[0]&8 != 0 {
			at = 5
		}
		if len(apdu) > at {
			in.addRequest(st, in.verb(bacnetName(bacnetConfirmed, apdu[at]), nil), rec)
		}
	case 1:
		in.addRequest(st, in.verb(bacnetName(bacnetUnconfirmed, apdu[1]), nil), rec)
	case 2, 3:
		if len(apdu) > 2 {
			in.addResponse(st, in.verb(bacnetName(bacnetConfirmed, apdu[2]), nil), rec)
		}
	case 5, 6, 7:
		rec.AppErrors++
		in.addResponse(st, in.verb([...]string{"error", "reject", "abort"}[apdu[0]>>4-5], nil), rec)
	}
}

func bacnetName(names map[byte]string, code byte) string {
	if name := names[code]; name != "" {
		return name
	}
	return "service " + string(appendInt(nil, code))
}
