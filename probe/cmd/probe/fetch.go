package main

import (
	"errors"
	"fmt"
	"net/url"
	"os"

	"github.com/spf13/cobra"

	"github.com/tapwatch/tapwatch/probe/keep"
	"github.com/tapwatch/tapwatch/proto/kit/service"
)

func fetchCommand() *cobra.Command {
	var opt keep.FetchOptions
	var path, tokenFile string
	given := map[string]*string{}
	cmd := &cobra.Command{
		Use:   "fetch --url https://PROBE:9612 [--src ADDRESS --dst ADDRESS ...] -o FILE",
		Short: "Fetch kept packets from a probe, as a pcap or pcapng file",
		Long: `Fetch kept packets from a probe, as a pcap or pcapng file: those that meet every
condition given, both directions of a flow, in order of time. The token comes
from --token-file or the environment's TAPWATCH_FETCH_TOKEN.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			values := url.Values{}
			for name, value := range given {
				if *value != "" {
					values.Set(name, *value)
				}
			}
			var err error
			if opt.Query, err = keep.ParseQuery(values); err != nil {
				return service.Usage(err)
			}
			if path == "" {
				return service.Usage(errors.New("a file is needed: -o FILE, - for standard output"))
			}
			if opt.Token, err = keep.ReadToken(tokenFile, os.Environ()); err != nil {
				return service.Usage(err)
			}
			var got keep.Fetched
			if path == "-" {
				got, err = keep.Fetch(cmd.Context(), opt, cmd.OutOrStdout())
			} else {
				got, err = keep.FetchFile(cmd.Context(), opt, path)
			}
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "%d packets, %d bytes\n", got.Packets, got.Bytes)
			if got.Truncated {
				fmt.Fprintln(cmd.ErrOrStderr(), "warning: the probe's limit of bytes was reached, there are more packets: ask for a shorter time")
			}
			if got.Damaged > 0 {
				fmt.Fprintf(cmd.ErrOrStderr(), "warning: %d blocks on the probe's disk are damaged, packets may be missing\n", got.Damaged)
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&opt.URL, "url", "", "the probe, https://host:port")
	f.StringVar(&tokenFile, "token-file", "", "file with the token; default: TAPWATCH_FETCH_TOKEN")
	f.StringVar(&opt.TLS.CA, "ca", "", "PEM file of the authorities to trust; default: those of the system")
	f.StringVar(&opt.TLS.Cert, "cert", "", "PEM file with a client certificate")
	f.StringVar(&opt.TLS.Key, "key", "", "PEM file with the private key of --cert")
	f.StringVar(&opt.TLS.ServerName, "server-name", "", "name to expect in the probe's certificate; default: the host of --url")
	f.StringVarP(&path, "output", "o", "", "file to write, - for standard output")
	for _, p := range [...]struct{ flag, short, name, help string }{
		{"start", "", "start", "earliest packet: RFC 3339, a date, or seconds since 1970"},
		{"end", "", "end", "latest packet"},
		{"src", "", "src", "address of one end of the flow"},
		{"dst", "", "dst", "address of the other end"},
		{"sport", "", "sport", "port of --src"},
		{"dport", "", "dport", "port of --dst"},
		{"proto", "", "proto", "tcp, udp, icmp ... or a number"},
		{"host", "", "host", "address of either end"},
		{"community-id", "", "community_id", "Community ID of the flow"},
		{"filter", "f", "filter", "BPF expression, as of tcpdump"},
		{"format", "", "format", "pcap or pcapng; default: pcap where one interface comes into question"},
	} {
		given[p.name] = f.StringP(p.flag, p.short, "", p.help)
	}
	return cmd
}
