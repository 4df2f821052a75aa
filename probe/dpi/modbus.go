package dpi

import (
	"encoding/binary"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// Modbus/TCP (Modbus Messaging on TCP/IP Implementation Guide 1.0b).
func modbusProtocol() protocol {
	return protocol{app: "modbus", tcp: []uint16{502}, stream: looksModbus, parse: (*Inspector).modbusStream,
		resume: func(b []byte) verdict { return looksModbus(b, &hint{onPort: true}) }}
}

const modbusHeader = 7

// modbusFunctions are function codes (Modbus Application Protocol 1.1b3, section 6).
var modbusFunctions = map[byte]string{1: "READ_COILS", 2: "READ_DISCRETE_INPUTS", 3: "READ_HOLDING_REGISTERS", 4: "READ_INPUT_REGISTERS",
	5: "WRITE_SINGLE_COIL", 6: "WRITE_SINGLE_REGISTER", 7: "READ_EXCEPTION_STATUS", 8: "DIAGNOSTICS", 11: "GET_COMM_EVENT_COUNTER", 12: "GET_COMM_EVENT_LOG",
	15: "WRITE_MULTIPLE_COILS", 16: "WRITE_MULTIPLE_REGISTERS", 17: "REPORT_SERVER_ID", 20: "READ_FILE_RECORD", 21: "WRITE_FILE_RECORD",
	22: "MASK_WRITE_REGISTER", 23: "READ_WRITE_MULTIPLE_REGISTERS", 24: "READ_FIFO_QUEUE", 43: "ENCAPSULATED_INTERFACE", 90: "UNITY"}

var modbusExceptions = map[byte]string{1: "ILLEGAL_FUNCTION", 2: "ILLEGAL_DATA_ADDRESS", 3: "ILLEGAL_DATA_VALUE", 4: "SERVER_DEVICE_FAILURE", 5: "ACKNOWLEDGE",
	6: "SERVER_DEVICE_BUSY", 8: "MEMORY_PARITY_ERROR", 10: "GATEWAY_PATH_UNAVAILABLE", 11: "GATEWAY_TARGET_FAILED"}

// looksModbus wants protocol identifier 0, a length and a known function;
// elsewhere than on its port, and for other functions, the segment ends with
// the message.
func looksModbus(b []byte, h *hint) verdict {
	switch {
	case len(b) >= 4 && (b[2] != 0 || b[3] != 0), len(b) >= 5 && b[4] != 0:
		return no
	case len(b) >= 6 && (b[5] < 2 || b[5] == 255):
		return no
	case len(b) >= 8 && modbusFunctions[b[7]&0x7f] == "" && (!h.onPort || b[7]&0x7f == 0 || len(b) > 6+int(b[5])):
		return no
	case len(b) < 8:
		return undecided
	}
	size := 6 + int(b[5])
	if known := modbusFunctions[b[7]&0x7f] != ""; h.onPort && (known || len(b) == size) || len(b) == size && known && b[7] <= 24 {
		return yes
	}
	return no
}

func (in *Inspector) modbusStream(st *State, d side, b []byte, rec *flow.Record, _ int64) int {
	if len(b) < modbusHeader+1 {
		return 0
	}
	size := 6 + int(binary.BigEndian.Uint16(b[4:]))
	if b[2]|b[3] != 0 || size < modbusHeader+1 || size > 6+260 {
		return in.astray(st, d, b, rec)
	}
	if len(b) < min(size, 12) {
		return 0
	}
	if in.crowded(st, 1, rec) {
		return 0
	}
	code := b[7] & 0x7f
	name := modbusFunctions[code]
	if name == "" {
		name = "FUNCTION_" + string(appendInt(nil, code))
	}
	switch {
	case b[7]&0x80 != 0:
		rec.AppErrors++
		reason := ""
		if len(b) > 8 {
			reason = modbusExceptions[b[8]]
		}
		in.addResponse(st, in.verb(name+" exception", []byte(reason)), rec)
	case d == sideSrc:
		in.scratch = appendInt(append(in.verb(name, nil), " unit "...), b[6])
		if size >= 12 && code <= 16 && code != 7 && code != 8 {
			in.scratch = appendInt(append(in.scratch, " address "...), binary.BigEndian.Uint16(b[8:]))
		}
		in.addRequest(st, in.scratch, rec)
	default:
		in.addResponse(st, in.verb(name, nil), rec)
	}
	return st.stepOver(d, size, b)
}
