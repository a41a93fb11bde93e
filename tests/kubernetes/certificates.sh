# Sourced by cluster and control, in the folder of the keys.

# make_certificate NAME SUBJECT USAGE EXTENSION [CA]: NAME.crt and NAME.key, signed by the cluster's CA or another one.
make_certificate() {
	openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "$2" -keyout "$1.key" -out "$1.csr"
	openssl x509 -req -in "$1.csr" -CA "${5:-ca}.crt" -CAkey "${5:-ca}.key" -CAcreateserial -days 2 -out "$1.crt" \
		-extfile <(printf 'keyUsage=critical,digitalSignature\nextendedKeyUsage=%s\n%s\n' "$3" "$4")
}

# make_ca NAME SUBJECT: NAME.crt and NAME.key.
make_ca() {
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj "$2" \
		-addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign \
		-keyout "$1.key" -out "$1.crt"
}

# make_service_account_key NAME: NAME.key, which signs tokens, and NAME.pub.
make_service_account_key() {
	openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out "$1.key"
	openssl pkey -in "$1.key" -pubout -out "$1.pub"
}
