// Package lab proves the chain on live packets: network namespaces on a bridge
// whose ports are mirrored to a probe's interface, real programs that attack in
// them, and the way from the packet to the row and to the incident. It has no code
// of its own besides its tests, which need root and are run by make e2e-lab.
//
// Nothing leaves the machine: the bridge has no way out, and every run is bounded
// in packets and time.
package lab
