package dpi

import (
	"github.com/tapwatch/tapwatch/proto/flow"
)

// IEC 60870-5-104: telecontrol over TCP.
func iec104Protocol() protocol {
	return protocol{app: "iec104", tcp: []uint16{2404}, stream: looksIEC104, parse: (*Inspector).iec104Stream,
		resume: func(b []byte) verdict { return looksIEC104(b, &hint{onPort: true}) }}
}

// iec104Types are type identifications (IEC 60870-5-104, section 6): the commands, and those
// that are met every day.
var iec104Types = map[byte]string{1: "M_SP_NA_1", 3: "M_DP_NA_1", 5: "M_ST_NA_1", 9: "M_ME_NA_1", 11: "M_ME_NB_1", 13: "M_ME_NC_1", 15: "M_IT_NA_1",
	30: "M_SP_TB_1", 31: "M_DP_TB_1", 34: "M_ME_TD_1", 35: "M_ME_TE_1", 36: "M_ME_TF_1", 37: "M_IT_TB_1", 45: "C_SC_NA_1", 46: "C_DC_NA_1", 47: "C_RC_NA_1",
	48: "C_SE_NA_1", 49: "C_SE_NB_1", 50: "C_SE_NC_1", 51: "C_BO_NA_1", 58: "C_SC_TA_1", 59: "C_DC_TA_1", 70: "M_EI_NA_1", 100: "C_IC_NA_1", 101: "C_CI_NA_1",
	102: "C_RD_NA_1", 103: "C_CS_NA_1", 105: "C_RP_NA_1", 107: "C_TS_TA_1"}

// looksIEC104 wants an APDU of a right form: U and S formats have four octets.
func looksIEC104(b []byte, h *hint) verdict {
	switch {
	case len(b) == 0:
		return undecided
	case b[0] != 0x68 || len(b) >= 2 && (b[1] < 4 || b[1] > 253):
		return no
	case len(b) < 6:
		return undecided
	}
	switch {
	case b[2]&3 == 3: // U: one of six functions
		if b[1] == 4 && b[3]|b[4]|b[5] == 0 && (b[2] == 0x07 || b[2] == 0x0b || b[2] == 0x13 || b[2] == 0x23 || b[2] == 0x43 || b[2] == 0x83) {
			return yes
		}
	case b[2]&3 == 1: // S
		if b[1] == 4 && b[2] == 1 && b[3] == 0 && b[4]&1 == 0 && (h.onPort || len(b) == 6) {
			return yes
		}
	case b[1] >= 10 && b[4]&1 == 0 && h.onPort:
		return yes
	}
	return no
}

func (in *Inspector) iec104Stream(st *State, d side, b []byte, rec *flow.Record, _ int64) int {
	if len(b) < 2 {
		return 0
	}
	size := 2 + int(b[1])
	if b[0] != 0x68 || size < 6 {
		return in.astray(st, d, b, rec)
	}
	if len(b) < size {
		return 0
	}
	if in.crowded(st, 1, rec) {
		return 0
	}
	if b[2]&1 == 0 && size >= 12 {
		name := iec104Types[b[6]]
		if name == "" {
			name = "TYPE_" + string(appendInt(nil, b[6]))
		}
		if d == sideSrc {
			in.addRequest(st, in.verb(name, nil), rec)
		} else {
			if b[8]&0x40 != 0 { // negative confirmation
				rec.AppErrors++
			}
			in.addResponse(st, in.verb(name, nil), rec)
		}
	}
	return size
}
