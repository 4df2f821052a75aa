package dpi_test

import (
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/tapwatch/tapwatch/probe/corpus"
	"github.com/tapwatch/tapwatch/probe/dpi"
	"github.com/tapwatch/tapwatch/proto/flow"
)

// TestZeekFields compares what is found in the protocols without columns of
// their own with the logs of Zeek's tests: every value in a log must be in the
// record of its connection.
func TestZeekFields(t *testing.T) {
	a := &tally{t: t, same: map[string]int{}}
	for _, trace := range corpus.ZeekTraces(t) {
		var got []*conn
		for _, log := range trace.Logs {
			kind := strings.TrimSuffix(filepath.Base(log), ".log")
			if zeekFields[kind] == nil {
				continue
			}
			if got == nil {
				got = inspectFile(t, trace.Path, dpi.NewInspector(dpi.Config{}))
			}
			for _, row := range corpus.ZeekSet(t, log) {
				zeekFieldRow(a, "zeek/"+trace.Name, kind, row, got)
			}
		}
	}
	a.report("testdata/zeek-fields-disagreements.tsv")
}

// zeekField says which column of a log must be found, and how.
type zeekField struct {
	column string
	ok     func(want string, row map[string]string, r *flow.Record) bool
}

func is(get func(*flow.Record) string) func(string, map[string]string, *flow.Record) bool {
	return func(want string, _ map[string]string, r *flow.Record) bool { return get(r) == want }
}

func request(text func(want string, row map[string]string) string) func(string, map[string]string, *flow.Record) bool {
	return func(want string, row map[string]string, r *flow.Record) bool {
		return slices.Contains(r.AppRequests, text(want, row))
	}
}

func response(text func(want string, row map[string]string) string) func(string, map[string]string, *flow.Record) bool {
	return func(want string, row map[string]string, r *flow.Record) bool {
		return slices.Contains(r.AppResponses, text(want, row))
	}
}

// inRequest finds want at any place of a request, behind a verb.
func inRequest(verb string) func(string, map[string]string, *flow.Record) bool {
	return func(want string, _ map[string]string, r *flow.Record) bool {
		return slices.ContainsFunc(r.AppRequests, func(s string) bool {
			return strings.HasPrefix(strings.ToUpper(s), verb) && strings.Contains(s, want)
		})
	}
}

// statement finds the beginning of want as a statement.
func statement(verb string) func(string, map[string]string, *flow.Record) bool {
	return func(want string, _ map[string]string, r *flow.Record) bool {
		return slices.ContainsFunc(r.AppRequests, func(s string) bool {
			words, ok := strings.CutPrefix(s, verb)
			return ok && strings.HasPrefix(strings.TrimLeft(unescapeZeek(want), " \n\r\t("), words)
		})
	}
}

func unescapeZeek(s string) string {
	return strings.NewReplacer(`\x0a`, "\n", `\x09`, "\t", `\x0d`, "\r", `\\`, `\`).Replace(s)
}

func user(r *flow.Record) string   { return r.User }
func domain(r *flow.Record) string { return r.Domain }
func host(r *flow.Record) string   { return r.AppHost }
func client(r *flow.Record) string { return r.ClientSoftware }

var zeekFields = map[string][]zeekField{
	"kerberos": {
		{"client", func(want string, _ map[string]string, r *flow.Record) bool {
			return want == r.User+"/"+r.Domain || r.User == "" || strings.HasPrefix(want, "/")
		}},
		{"service", func(want string, row map[string]string, r *flow.Record) bool {
			return slices.Contains(r.AppRequests, row["request_type"]+"-REQ "+want) || row["request_type"] == "AP" && slices.Contains(r.AppRequests, "SESSION_SETUP "+want)
		}},
		{"error_msg", func(want string, _ map[string]string, r *flow.Record) bool { // some are texts of the server
			return slices.Contains(r.AppResponses, want) || r.AppErrors > 0 && !strings.HasPrefix(want, "K")
		}},
		{"cipher", func(want string, _ map[string]string, r *flow.Record) bool {
			return slices.ContainsFunc(r.AppResponses, func(s string) bool { return strings.HasSuffix(s, " "+want) })
		}},
	},
	"ntlm":        {{"username", is(user)}, {"hostname", is(host)}, {"domainname", is(domain)}},
	"smb_mapping": {{"path", request(func(want string, _ map[string]string) string { return "TREE_CONNECT " + unescapeZeek(want) })}},
	"ldap": {
		{"object", func(want string, _ map[string]string, r *flow.Record) bool {
			return slices.ContainsFunc(r.AppRequests, func(s string) bool { return strings.HasSuffix(s, " "+want) || strings.Contains(s, want) })
		}},
		{"result", func(want string, _ map[string]string, r *flow.Record) bool {
			return slices.ContainsFunc(r.AppResponses, func(s string) bool { return strings.EqualFold(s, strings.ReplaceAll(want, " ", "")) })
		}},
	},
	"ldap_search": {{"filter", func(want string, row map[string]string, r *flow.Record) bool {
		return slices.ContainsFunc(r.AppRequests, func(s string) bool {
			return strings.HasPrefix(s, strings.TrimSpace("SEARCH "+row["base_object"])) && strings.HasSuffix(s, " "+want)
		})
	}}},
	"mysql": {
		{"cmd", func(want string, row map[string]string, r *flow.Record) bool {
			arg := row["arg"]
			switch want {
			case "login":
				return r.User == arg || strings.Contains(strings.Join(r.AppRequests, "\n"), "CHANGE_USER")
			case "query":
				return statement("QUERY ")(arg, row, r)
			case "init_db":
				return slices.Contains(r.AppRequests, "INIT_DB "+arg)
			case "change_user":
				return slices.Contains(r.AppRequests, "CHANGE_USER "+arg)
			}
			return slices.ContainsFunc(r.AppRequests, func(s string) bool {
				return strings.HasPrefix(s, strings.ToUpper(want)) || strings.HasPrefix("STMT_"+s, strings.ToUpper(want)) || strings.HasPrefix(s, "COMMAND")
			})
		}},
	},
	"ftp": {
		{"user", func(want string, _ map[string]string, r *flow.Record) bool {
			return want == "<unknown>" || r.User == want
		}},
		{"command", func(want string, row map[string]string, r *flow.Record) bool {
			return want == "<init>" || slices.ContainsFunc(r.AppRequests, func(s string) bool { return strings.HasPrefix(s, want) })
		}},
		{"reply_code", func(want string, row map[string]string, r *flow.Record) bool {
			return row["command"] == "<init>" || slices.Contains(r.AppResponses, want)
		}},
	},
	"smtp": {
		{"helo", is(host)},
		{"mailfrom", inRequest("MAIL FROM:")},
		{"rcptto", func(want string, row map[string]string, r *flow.Record) bool {
			for v := range strings.SplitSeq(want, ",") {
				if !inRequest("RCPT TO:")(v, row, r) {
					return false
				}
			}
			return true
		}},
		{"last_reply", response(func(want string, _ map[string]string) string { return want[:3] })},
		{"user_agent", is(client)},
	},
	"ntp": {
		{"version", is(func(r *flow.Record) string { return r.AppVersion })},
		{"mode", func(want string, _ map[string]string, r *flow.Record) bool {
			n, _ := strconv.Atoi(want)
			name := []string{"", "SYMMETRIC_ACTIVE", "SYMMETRIC_PASSIVE", "CLIENT", "SERVER", "BROADCAST", "CONTROL", "PRIVATE"}[n]
			return slices.ContainsFunc(append(slices.Clone(r.AppRequests), r.AppResponses...), func(s string) bool { return strings.HasPrefix(s, name) })
		}},
	},
	"snmp": {{"version", func(want string, _ map[string]string, r *flow.Record) bool {
		return r.AppVersion == map[string]string{"1": "v1", "2c": "v2c", "2": "v2c", "3": "v3"}[want]
	}}},
	"radius": {{"username", is(user)}, {"mac", func(want string, _ map[string]string, r *flow.Record) bool {
		return strings.EqualFold(strings.ReplaceAll(r.AppHost, "-", ":"), want)
	}}, {"result", func(want string, _ map[string]string, r *flow.Record) bool {
		return want != "success" || slices.ContainsFunc(r.AppResponses, func(s string) bool { return strings.HasPrefix(s, "Access-Accept") })
	}}},
	"rdp": {{"cookie", is(user)}, {"security_protocol", response(func(want string, _ map[string]string) string { return "CONFIRM " + want })}},
	"rfb": {
		{"client_minor_version", func(want string, _ map[string]string, r *flow.Record) bool {
			return strings.TrimLeft(want, "0") == strings.TrimPrefix(r.AppVersion, "3.")
		}},
		{"authentication_method", request(func(want string, _ map[string]string) string { return "AUTH " + want })},
		{"desktop_name", is(func(r *flow.Record) string { return r.ServerSoftware })},
		{"auth", response(func(want string, _ map[string]string) string {
			return map[string]string{"T": "OK", "F": "failed"}[want]
		})},
	},
	"socks": {
		{"version", func(want string, _ map[string]string, r *flow.Record) bool {
			return strings.HasPrefix(r.AppVersion, want)
		}},
		{"user", is(user)},
		{"request_p", func(want string, row map[string]string, r *flow.Record) bool {
			return slices.Contains(r.AppRequests, "CONNECT "+row["request.host"]+row["request.name"]+":"+want)
		}},
	},
	"redis": {{"cmd.name", func(want string, row map[string]string, r *flow.Record) bool {
		return slices.ContainsFunc(r.AppRequests, func(s string) bool {
			return strings.HasPrefix(s, strings.ToUpper(strings.Fields(want)[0]))
		}) && (row["cmd.key"] == "" || slices.Contains(r.AppRequests, strings.ToUpper(want)+" "+unescapeZeek(row["cmd.key"])))
	}}},
	"postgresql": {
		{"user", is(user)},
		{"database", request(func(want string, _ map[string]string) string { return "STARTUP " + want })},
		{"application_name", is(client)},
		{"frontend_arg", func(want string, row map[string]string, r *flow.Record) bool {
			return row["frontend"] != "simple_query" || statement("QUERY ")(want, row, r)
		}},
	},
}

func zeekFieldRow(a *tally, file, kind string, row map[string]string, got []*conn) {
	addr := func(side string) netip.AddrPort {
		ip, _ := netip.ParseAddr(row["id."+side+"_h"])
		port, _ := strconv.ParseUint(row["id."+side+"_p"], 10, 16)
		return netip.AddrPortFrom(ip, uint16(port))
	}
	src, dst := addr("orig"), addr("resp")
	for _, f := range zeekFields[kind] {
		want := row[f.column]
		if want == "" {
			continue
		}
		found := slices.ContainsFunc(got, func(c *conn) bool {
			return (c.key.a == src && c.key.b == dst || c.key.a == dst && c.key.b == src) &&
				slices.ContainsFunc(c.records, func(r flow.Record) bool { return f.ok(want, row, &r) })
		})
		a.check(file, kind+" "+f.column, found, "%s %s %s %s", src, dst, want, row["arg"])
	}
}
