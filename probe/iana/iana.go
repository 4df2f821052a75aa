// Package iana holds the numbers by which a packet says what comes next:
// EtherTypes, IP protocols and the ports of tunnels. The fanout program of
// package capture and package decode must know the same ones.
package iana

// EtherTypes (IANA and IEEE 802).
const (
	EtherIPv4       = 0x0800
	EtherARP        = 0x0806
	EtherTRILL      = 0x22f3 // RFC 6325
	EtherERSPAN3    = 0x22eb
	EtherTEB        = 0x6558 // transparent Ethernet bridging: a frame (RFC 1701)
	EtherRARP       = 0x8035
	EtherVLAN       = 0x8100
	EtherIPv6       = 0x86dd
	EtherPPP        = 0x880b
	EtherWCCP       = 0x883e // in GRE only
	EtherMPLS       = 0x8847
	EtherMPLSUp     = 0x8848 // with a label of the upstream router (RFC 5332)
	EtherPPPoE      = 0x8864
	EtherQinQ       = 0x88a8
	EtherERSPAN     = 0x88be
	EtherMACsec     = 0x88e5 // IEEE 802.1AE
	EtherPBB        = 0x88e7 // IEEE 802.1ah
	EtherFabricPath = 0x8903 // Cisco
	EtherSGT        = 0x8909 // Cisco MetaData
	EtherVNTag      = 0x8926
	EtherHSR        = 0x892f // IEC 62439-3
	EtherBridgePort = 0x893f // IEEE 802.1BR E-TAG
	EtherNSH        = 0x894f // RFC 8300
	EtherQinQOld    = 0x9100
	EtherMaxLength  = 1500 // smaller values are the length of an 802.3 frame
)

// IP protocols that are looked into. Transport protocols of records have their
// names in package flow.
const (
	ProtoHopByHop = 0
	ProtoIPv4     = 4
	ProtoTCP      = 6
	ProtoUDP      = 17
	ProtoDCCP     = 33
	ProtoIPv6     = 41
	ProtoRouting  = 43
	ProtoFragment = 44
	ProtoGRE      = 47
	ProtoAH       = 51
	ProtoNone     = 59
	ProtoDstOpts  = 60
	ProtoEtherIP  = 97
	ProtoL2TP     = 115
	ProtoMobility = 135
	ProtoUDPLite  = 136
	ProtoMPLS     = 137
	ProtoHIP      = 139
	ProtoShim6    = 140
	ProtoEthernet = 143
)

// Ports of tunnels over UDP (IANA, but for PortVXLANOld, which Linux, Flannel
// and others used for VXLAN before it had its number).
const (
	PortL2TP     = 1701
	PortGTPU     = 2152
	PortTeredo   = 3544
	PortLISP     = 4341
	PortGRE      = 4754
	PortVXLAN    = 4789
	PortVXLANGPE = 4790
	PortAYIYA    = 5072
	PortGENEVE   = 6081
	PortMPLS     = 6635
	PortVXLANOld = 8472
)
