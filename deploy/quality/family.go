package quality

import "strings"

// kindFamily is the family of what labels.tsv calls a kind.
func kindFamily(kind string) string {
	switch kind {
	case "port_scan_vertical":
		return "scan"
	case "host_scan_tcp":
		return "sweep"
	case "host_scan_icmp", "arp_scan":
		return "discovery"
	case "syn_flood", "dhcp_flood":
		return "flood"
	case "amplification_dns":
		return "amplification"
	case "beaconing":
		return "beacon"
	case "ssh_bruteforce", "ftp_bruteforce":
		return "bruteforce"
	case "discovery_ldap":
		return "ldap"
	case "lateral_movement":
		return "lateral"
	case "web_attack":
		return "injection"
	}
	return strings.TrimPrefix(kind, "negative_")
}

// finds says whether an incident of a detector is an answer to a family. It is
// the one place that knows the names of detectors; a detector that is not in it
// answers to the family of its own name.
func finds(detector, family string) bool {
	for _, f := range answers(detector) {
		if f == family {
			return true
		}
	}
	return false
}

func answers(detector string) []string {
	switch detector {
	case "portscan_vertical", "portscan_slow", "port_probe":
		return []string{"scan", "slowscan"}
	case "portscan_horizontal":
		return []string{"sweep", "slowscan"}
	case "trw", "stealth_scan":
		return []string{"scan", "sweep", "slowscan"}
	case "scan_digest", "background_scanning":
		return []string{"scan", "sweep", "slowscan", "digest"}
	case "host_discovery", "arp_scan":
		return []string{"discovery"}
	case "syn_flood", "packet_flood", "tcp_flood", "volumetric", "dhcp_flood":
		return []string{"flood"}
	case "amplification":
		return []string{"amplification", "flood"}
	case "slow_http", "http_flood":
		return []string{"slowhttp"}
	case "beacon":
		return []string{"beacon", "c2"}
	case "long_connection":
		return []string{"long_connection", "c2"}
	case "connection_beacon", "plain_channel":
		return []string{"c2", "beacon"}
	case "dns_tunnel":
		return []string{"dns_tunnel"}
	case "icmp_tunnel":
		return []string{"icmp_tunnel"}
	case "exfiltration":
		return []string{"exfil"}
	case "file_upload", "refused_upload", "slow_exfiltration":
		return []string{"exfil"}
	case "brute_force":
		return []string{"bruteforce", "lateral"}
	case "lateral_movement", "spray":
		return []string{"lateral"}
	case "ldap_discovery":
		return []string{"ldap"}
	case "arp_spoofing":
		return []string{"arp_spoof"}
	case "new_host", "new_service":
		return []string{"newhost"}
	case "new_admin":
		return []string{"lateral"}
	case "volume_anomaly", "host_behaviour":
		return []string{"level"}
	}
	return []string{detector}
}
