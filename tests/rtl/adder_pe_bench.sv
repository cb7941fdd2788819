// Feeds adder_pe with every pair of an image n and an output channel k, and writes one line per output: the
// accumulator and the flags in hexadecimal. tests/test_rtl.py defines the macros, writes the vectors and compares.
module adder_pe_bench;
    reg clk = 0, rst = 1, start = 0, valid = 0;
    reg [`T*`X_BITS-1:0] x_t, x_nt[0:`IMAGES*`STEPS-1];
    reg [`T*`W_BITS-1:0] w_t, w_kt[0:`CHANNELS*`STEPS-1];
    reg [`T-1:0] enable_t, enable_st[0:`STEPS-1];
    reg [`PRELOAD_BITS-1:0] preload, preload_k[0:`CHANNELS-1];
    wire [`ACC_BITS-1:0] acc;
    wire [4:0] overflow;
    integer n, k, s, file;

    adder_pe #(`PARAMETERS) pe (
        .clk(clk), .rst(rst), .start(start), .valid(valid), .x_t(x_t), .w_t(w_t), .enable_t(enable_t),
        .preload(preload), .acc(acc), .overflow(overflow)
    );

    task tick;
        begin
            #1 clk = 1;
            #1 clk = 0;
        end
    endtask

    task one_output;
        begin
            start = 1;
            preload = preload_k[k];
            tick;  // the operands of the output before are still there, and so is `valid`: `start` goes first
            start = 0;
            valid = 1;
            for (s = 0; s < `STEPS; s = s + 1) begin
                x_t = x_nt[n*`STEPS+s];
                w_t = w_kt[k*`STEPS+s];
                enable_t = enable_st[s];
                tick;
            end
            if ((n + k) % 8 == 0) begin  // a clock without `valid` changes nothing
                valid = 0;
                preload = ~preload;
                tick;
            end
            $fdisplay(file, "%h %h", acc, overflow);
        end
    endtask

    initial begin
        $readmemh("x_nt.hex", x_nt);
        $readmemh("w_kt.hex", w_kt);
        $readmemh("enable_st.hex", enable_st);
        $readmemh("preload_k.hex", preload_k);
        file = $fopen("outputs.hex", "w");
        tick;
        rst = 0;
        for (n = 0; n < `IMAGES; n = n + 1) for (k = 0; k < `CHANNELS; k = k + 1) one_output;
        rst = 1;
        tick;
        $fdisplay(file, "%h %h", acc, overflow);
        $fclose(file);
    end
endmodule
