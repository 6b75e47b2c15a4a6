// A schema registry in memory, as franz-go's tests have it: the integration tests ask it for what Confluent's own client
// registers. It takes a free port of loopback, prints it, and wants the user and password that it is given.
package main

import (
	"encoding/base64"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"

	"github.com/twmb/franz-go/pkg/sr/srfake"
)

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: registry USER:PASSWORD")
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(listener.Addr())
	login := "Basic " + base64.StdEncoding.EncodeToString([]byte(os.Args[1]))
	log.Fatal(http.Serve(listener, srfake.NewRegistry(srfake.WithAuth(login)).Handler()))
}
