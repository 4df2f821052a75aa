package incident

import (
	"strings"

	"github.com/tapwatch/tapwatch/analyzer/alert"
)

// tactics of ATT&CK Enterprise techniques, for those that network traffic shows.
// A technique of several tactics has the one that traffic shows it for: the
// matrix of attack.mitre.org, version 17.
func tactics() map[string]string {
	out := map[string]string{}
	for tactic, techniques := range map[string]string{
		"reconnaissance":       "T1595 T1590 T1592 T1589 T1596 T1598",
		"initial-access":       "T1190 T1133 T1189 T1199 T1566 T1078",
		"execution":            "T1059 T1203 T1569",
		"persistence":          "T1505 T1136 T1098",
		"defense-evasion":      "T1562 T1205 T1036 T1207 T1550",
		"credential-access":    "T1110 T1557 T1040 T1187 T1558 T1003 T1552",
		"discovery":            "T1046 T1018 T1135 T1049 T1016 T1087 T1482",
		"lateral-movement":     "T1021 T1210 T1570 T1563 T1072",
		"collection":           "T1039 T1213 T1114 T1005",
		"command-and-control":  "T1071 T1573 T1571 T1572 T1095 T1568 T1090 T1105 T1219 T1102 T1132 T1001 T1008 T1104",
		"exfiltration":         "T1041 T1048 T1030 T1567 T1020 T1029 T1011 T1537",
		"impact":               "T1498 T1499 T1496 T1485 T1486 T1489 T1565",
		"resource-development": "T1583 T1584 T1587 T1588",
	} {
		for _, t := range strings.Fields(techniques) {
			out[t] = tactic
		}
	}
	return out
}

// TacticOf is the ATT&CK tactic of an alert's first technique, such as
// "command-and-control"; empty if that is not known. The others of its techniques
// do not count: one alert is one step.
func TacticOf(a *alert.Alert) string { return tacticOf(tactics(), a.Techniques) }

func tacticOf(table map[string]string, techniques []string) string {
	if len(techniques) == 0 {
		return ""
	}
	id, _, _ := strings.Cut(techniques[0], ".")
	return table[id]
}
