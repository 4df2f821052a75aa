package meter

// ifaces numbers the names of interfaces, of which a probe has few. What comes
// after the 65535th is left without a name.
type ifaces struct {
	names   []string // 0 is ""
	numbers map[string]uint16
	latest  uint16
}

func newIfaces() ifaces { return ifaces{names: []string{""}, numbers: map[string]uint16{"": 0}} }

func (x *ifaces) number(name string) uint16 {
	if x.names[x.latest] == name {
		return x.latest
	}
	n, ok := x.numbers[name]
	if !ok && len(x.names) < 1<<16 {
		n = uint16(len(x.names))
		x.names = append(x.names, name)
		x.numbers[name] = n
	}
	x.latest = n
	return n
}
