package dpi

func http2Protocol() protocol {
	return protocol{app: "http2", stream: looksHTTP2}
}

// looksHTTP2 recognises the client's preface (RFC 9113, section 3.4). Nothing
// is read from HTTP/2 itself.
func looksHTTP2(b []byte, _ *hint) verdict {
	const preface = "PRI * HTTP/2.0\r\n\r\nSM"
	if len(b) >= len(preface) && string(b[:len(preface)]) == preface {
		return yes
	}
	return no
}
