# /etc/varnish/default.vcl
vcl 4.1;

backend tus {
    .host = "127.0.0.1";
    .port = "8080";
}

sub vcl_recv {
    # Uploads have nothing for a cache. `pass` would drop a 104 and trailers; `pipe` moves bytes as they are.
    if (req.url ~ "^/files") {
        unset req.http.Forwarded;
        unset req.http.X-Forwarded-Prefix;
        return (pipe);
    }
}

sub vcl_pipe {
    # One request a connection: the next one has to be looked at, too.
    set bereq.http.Connection = "close";
}
