package detect

import (
	"fmt"
	"strconv"
)

// Entities makes a list of role=value of roles and values, without those that
// have no value.
func Entities(pairs ...string) []string {
	var list []string
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			list = append(list, pairs[i]+"="+pairs[i+1])
		}
	}
	return list
}

// Service names a port: 443/tcp.
func Service(protocol uint8, port uint16) string {
	name := map[uint8]string{6: "tcp", 17: "udp", 132: "sctp"}[protocol]
	if name == "" {
		name = "ip" + strconv.Itoa(int(protocol))
	}
	return strconv.Itoa(int(port)) + "/" + name
}

// Bounded fits a score into 0 to 1.
func Bounded(f float64) float64 { return max(0, min(1, f)) }

// Size writes octets for people.
func Size(n float64) string {
	units := []string{"B", "kB", "MB", "GB", "TB"}
	i := 0
	for n >= 1000 && i < len(units)-1 {
		n, i = n/1000, i+1
	}
	if i == 0 {
		return fmt.Sprintf("%.0f B", n)
	}
	return fmt.Sprintf("%.1f %s", n, units[i])
}
