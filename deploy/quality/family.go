package quality

import (
	"slices"
	"strings"
)

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

// finds says whether an incident of a detector is an answer to a family. A detector
// that is not in the table answers to the family of its own name.
func finds(detector, family string) bool {
	list, ok := answers()[detector]
	if !ok {
		list = []string{detector}
	}
	return slices.Contains(list, family)
}

// answers are the families that each detector answers to: the one place that knows
// the names of detectors. One with none answers to nothing that is labelled, but
// what it says counts.
func answers() map[string][]string {
	return map[string][]string{
		"portscan_vertical":   {"scan"},
		"portscan_slow":       {"scan", "slowscan", "sweep"},
		"portscan_horizontal": {"sweep"},
		"port_probe":          {"scan"},
		"stealth_scan":        {"scan", "sweep", "slowscan"},
		"scan_digest":         {"digest", "slowscan", "scan", "sweep"},
		"host_discovery":      {"discovery"},
		"worm":                {"worm"},
		"syn_flood":           {"flood"},
		"packet_flood":        {"flood", "amplification"},
		"amplification":       {"amplification"},
		"dhcp_flood":          {"flood"},
		"slow_http":           {"slowhttp"},
		"http_flood":          {"slowhttp"},
		"beacon":              {"beacon", "c2"},
		"connection_beacon":   {"c2", "beacon"},
		"long_connection":     {"long_connection", "c2"},
		"dns_tunnel":          {"dns_tunnel"},
		"dga":                 {"dga"},
		"icmp_tunnel":         {"icmp_tunnel"},
		"tunnelled":           {"unknown", "c2"},
		"exfiltration":        {"exfil"},
		"exfiltration_day":    {"exfil"},
		"slow_exfiltration":   {"exfil"},
		"file_upload":         {"exfil"},
		"refused_upload":      {"exfil"},
		"brute_force":         {"bruteforce"},
		"brute_force_slow":    {"bruteforce"},
		"password_spray":      {"bruteforce", "lateral"},
		"lateral_movement":    {"lateral"},
		"remote_execution":    {"lateral"},
		"new_admin":           {"lateral"},
		"kerberoasting":       {"kerberoasting"},
		"injection":           {"injection"},
		"tls_risk":            {"c2"},
		"tls_profile":         {"c2"},
		"traffic_class":       {"c2"},
		"unknown_cluster":     {"unknown"},
		"ldap_discovery":      {"ldap"},
		"arp_spoofing":        {"arp_spoof"},
		"cryptomining":        {"cryptomining"},
		"rare_destination":    {"c2"},
		"new_host":            {"newhost"},
		"new_service":         {"newhost"},
		"host_behaviour":      {"level"},
		"user_behaviour":      nil,
		"anonymiser":          {"c2"},
		"clear_credentials":   nil,
		"weak_protocol":       nil,
		"unexpected_server":   nil,
		"threat_list":         nil,
		"policy":              nil,
		"probe_silence":       nil,
		"service_health":      {"outage"},
		"static_threshold":    nil,
		"drift":               nil,
		"link_forecast":       nil,
		"app_forecast":        nil,
		"link_capacity":       nil,
	}
}
